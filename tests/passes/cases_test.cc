// Passes on graphs in text: each file of tests/passes/cases is a list of cases.
//
//   == <name> | <pass>[, <pass> …]
//   graph @main(…) { … }
//   -- expect
//   <text>           must appear in the printed graph, in this order
//   ! <text>         must not appear
//   ? <text>         must appear in the reason of a declined decision
//
// Runs of spaces compare as one. Every case is verified before and after.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <tuple>

#include "ir/text.h"
#include "ops/create.h"
#include "passes/pipeline.h"

namespace tenon {
namespace {

struct Case {
  std::string file, name, graph;
  std::vector<std::string> passes, expectations;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.file << ": " << c.name; }

std::string trim(const std::string& s) {
  const size_t begin = s.find_first_not_of(' ');
  return begin == std::string::npos ? "" : s.substr(begin, s.find_last_not_of(' ') - begin + 1);
}

std::vector<Case> read_cases() {
  std::vector<Case> cases;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(TENON_SOURCE_DIR) + "/tests/passes/cases")) {
    std::ifstream file(entry.path());
    bool expecting = false;
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("== ")) {
        const size_t bar = line.find('|');
        cases.push_back({entry.path().stem().string(), trim(line.substr(3, bar - 3)), "", {}, {}});
        std::stringstream list(line.substr(bar + 1));
        for (std::string pass; std::getline(list, pass, ',');) cases.back().passes.push_back(trim(pass));
        expecting = false;
      } else if (line == "-- expect") {
        expecting = true;
      } else if (!cases.empty() && expecting && !trim(line).empty()) {
        cases.back().expectations.push_back(trim(line));
      } else if (!cases.empty() && !expecting) {
        cases.back().graph += line + "\n";
      }
    }
  }
  std::sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) { return std::tie(a.file, a.name) < std::tie(b.file, b.name); });
  return cases;
}

class PassCase : public testing::TestWithParam<Case> {};

TEST_P(PassCase, GivesWhatItSays) {
  const Case& c = GetParam();
  auto graph = ops::parse_graph(c.graph, c.file + ".ir");
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  ASSERT_TRUE(ops::verify(**graph).ok());
  std::vector<passes::Decision> decisions;
  for (const std::string& pass : c.passes) {
    const Status status = passes::run_pass(**graph, pass, decisions);
    ASSERT_TRUE(status.ok()) << status.message();
  }
  const Status verified = ops::verify(**graph);
  EXPECT_TRUE(verified.ok()) << verified.message();
  const std::string text = ir::print(**graph);
  std::string declined;
  for (const auto& d : decisions)
    if (!d.applied) declined += d.reason + "\n";
  size_t from = 0;
  for (const std::string& expectation : c.expectations) {
    if (expectation.starts_with("! ")) {
      EXPECT_EQ(text.find(expectation.substr(2)), std::string::npos) << expectation << "\n" << text;
    } else if (expectation.starts_with("? ")) {
      EXPECT_NE(declined.find(expectation.substr(2)), std::string::npos) << expectation << "\n" << declined << text;
    } else {
      const size_t at = text.find(expectation, from);
      EXPECT_NE(at, std::string::npos) << "missing: " << expectation << "\n" << text << declined;
      if (at != std::string::npos) from = at + expectation.size();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Text, PassCase, testing::ValuesIn(read_cases()), [](const auto& case_info) {
  std::string name = case_info.param.file + "_" + case_info.param.name;
  for (char& ch : name)
    if (!std::isalnum(static_cast<unsigned char>(ch))) ch = '_';
  return name;
});

}  // namespace
}  // namespace tenon
