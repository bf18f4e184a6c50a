// All of the ONNX project's node tests: import, build, run, compare. Each runs in a process of its own, so that a crash
// or a hang is counted like any other outcome. docs/conformance.md holds the outcomes; a test that gets worse, or
// better, must be entered there: TENON_UPDATE_DOCS=1 writes the page anew. The tests are no part of the repository:
// skipped where ../shared is absent.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <iterator>
#include <sstream>

#include "tests/conformance/node_case.h"

namespace tenon::conformance {
namespace {

constexpr int kSecondsPerTest = 60;

fs::path shared_folder() {
  const char* given = std::getenv("TENON_SHARED_DIR");
  return (given != nullptr ? fs::path(given) : fs::path(TENON_SOURCE_DIR) / "../shared") / "data/onnx_node_tests";
}

// The folder of unpacked tests; empty when there are none.
fs::path unpacked_tests() {
  const fs::path archive = shared_folder() / "node_tests.tar.xz";
  if (!fs::exists(archive)) return {};
  const fs::path folder = fs::path(TENON_BINARY_DIR) / "onnx_node_tests";
  const fs::path done = folder / "unpacked";
  if (!fs::exists(done)) {
    fs::create_directories(folder);
    const std::string command = "tar -xJf '" + archive.string() + "' -C '" + folder.string() + "'";
    if (std::system(command.c_str()) != 0) return {};
    std::ofstream mark(done);
  }
  return folder / "onnx/backend/test/data/node";
}

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text;
}

std::set<std::string> split(const std::string& text) {
  std::istringstream words(text);
  return {std::istream_iterator<std::string>(words), {}};
}

// In a child process. A crash leaves no verdict behind, a hang is ended.
Verdict run_apart(const NodeCase& test, const fs::path& scratch) {
  int ends[2];
  if (::pipe(ends) != 0) return {Outcome::kError, "no pipe"};
  const pid_t child = ::fork();
  if (child == 0) {
    const Verdict verdict = test.run(scratch);
    const std::string text = std::to_string(static_cast<int>(verdict.outcome)) + joined(verdict.cpu) + "\n" +
                             joined(verdict.cuda) + "\n" + verdict.why;
    const bool sent = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(sent ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  bool in_time = true;
  for (ssize_t count = 1; count > 0;) {
    pollfd waiting{ends[0], POLLIN, 0};
    in_time = ::poll(&waiting, 1, kSecondsPerTest * 1000) > 0;
    if (!in_time) break;
    char buffer[4096];
    count = ::read(ends[0], buffer, sizeof buffer);
    if (count > 0) text.append(buffer, static_cast<size_t>(count));
  }
  ::close(ends[0]);
  if (!in_time) ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!in_time) return {Outcome::kHang, fmt::format("no end after {} s", kSecondsPerTest)};
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || text.empty()) {
    return {Outcome::kCrash,
            WIFSIGNALED(status) ? fmt::format("signal {}", WTERMSIG(status)) : "it ended without a word"};
  }
  const size_t cpu = text.find('\n'), cuda = text.find('\n', cpu + 1);
  return {static_cast<Outcome>(text[0] - '0'), text.substr(cuda + 1), split(text.substr(1, cpu - 1)),
          split(text.substr(cpu + 1, cuda - cpu - 1))};
}

// What Tenon leaves out on purpose. Empty: not excluded.
std::string excluded_class(const onnx_pb::ModelProto& model) {
  for (const auto* ports : {&model.graph().input(), &model.graph().output()}) {
    for (const auto& port : *ports) {
      if (!port.type().has_tensor_type()) return "sequences and optionals";
      if (port.type().tensor_type().elem_type() == 8) return "strings";
    }
  }
  for (const auto& node : model.graph().node()) {
    const std::string& op = node.op_type();
    if (node.domain() == "ai.onnx.preview.training") return "training";
    if (op.starts_with("Random") || op == "Bernoulli" || op == "Multinomial") return "random generators";
    if (op == "ImageDecoder") return "image decoding";
    if (op.starts_with("Sequence") || op.starts_with("Optional")) return "sequences and optionals";
    if (op.starts_with("String") || op.starts_with("Regex")) return "strings";
  }
  return "";
}

std::set<std::string> passed_by_onnxruntime() {
  std::ifstream index(shared_folder() / "node_tests_index.tsv");
  std::set<std::string> names;
  for (std::string line; std::getline(index, line);) {
    if (line.ends_with("\tpass")) names.insert(line.substr(0, line.find('\t')));
  }
  return names;
}

std::string first_line(std::string text) {
  // Refusals list what is missing on lines of their own.
  if (const size_t at = text.find(":\n  "); at != std::string::npos) text = text.substr(at + 4);
  text = text.substr(0, text.find('\n'));
  for (char& ch : text)
    if (ch == '|') ch = '/';
  return text;
}

bool names_an_operator(const onnx_pb::ModelProto& model, const std::string& refusal) {
  return std::ranges::any_of(model.graph().node(),
                             [&](const auto& node) { return refusal.find(node.op_type()) != std::string::npos; });
}

std::string sole_operator(const onnx_pb::ModelProto& model) {
  if (model.graph().node_size() != 1) return "";
  const auto& node = model.graph().node(0);
  return node.domain().empty() ? node.op_type() : node.domain() + "." + node.op_type();
}

struct Row {
  std::string name, excluded;
  std::string op;  // of models of one node
  Verdict verdict;
};

bool passed(const Row& row) {
  return row.verdict.outcome == Outcome::kPass || row.verdict.outcome == Outcome::kPassSizes;
}

// What runs each operator, over its tests that pass.
std::string kernel_table(const std::vector<Row>& rows) {
  struct Entry {
    int tests = 0, passed = 0;
    std::set<std::string> cpu, cuda;
  };
  std::map<std::string, Entry> entries;
  for (const Row& row : rows) {
    if (row.op.empty()) continue;
    Entry& entry = entries[row.op];
    ++entry.tests;
    entry.passed += passed(row);
    entry.cpu.insert(row.verdict.cpu.begin(), row.verdict.cpu.end());
    entry.cuda.insert(row.verdict.cuda.begin(), row.verdict.cuda.end());
  }
  std::string table =
      "\n## What runs each operator\n\nModels of one node, planned in fp32. On a GPU, `reference` and `cpu.` kernels "
      "run on the host.\n\n"
      "| operator | tests | pass | kernels on CPUs | kernels on sm_90 |\n|---|---|---|---|---|\n";
  for (const auto& [name, e] : entries)
    table += fmt::format("| {} | {} | {} | {} | {} |\n", name, e.tests, e.passed, joined(e.cpu), joined(e.cuda));
  return table;
}

constexpr const char* kOutcomeNames[] = {"pass", "pass, sizes given", "refused", "wrong", "error", "crash", "hang"};

std::string page_of(const std::vector<Row>& rows) {
  const std::set<std::string> peer = passed_by_onnxruntime();
  std::map<std::string, std::array<int, 7>> counts;
  int peer_passed = 0, peer_included = 0, both = 0, both_included = 0;
  for (const Row& row : rows) {
    ++counts[row.excluded.empty() ? "operators" : row.excluded][static_cast<size_t>(row.verdict.outcome)];
    if (!peer.contains(row.name)) continue;
    ++peer_passed;
    both += passed(row);
    peer_included += row.excluded.empty();
    both_included += passed(row) && row.excluded.empty();
  }
  std::ostringstream page;
  page << "# ONNX node tests\n\nGenerated by `tests/conformance/conformance_test.cc` from a run of all " << rows.size()
       << " node tests of ONNX 1.23 on the CPU target.\n\"Sizes given\": passes once the recorded values of inputs "
          "that sizes depend on "
          "(axes, shapes, counts) are initializers, as exporters write them.\n\n";
  page << fmt::format(
      "Of the {} tests that ONNX Runtime 1.30 passes, {} pass; of the {} among them that use nothing left out on "
      "purpose, {}.\n",
      peer_passed, both, peer_included, both_included);
  page << "\n| | pass | pass, sizes given | refused | wrong | error | crash | hang "
          "|\n|---|---|---|---|---|---|---|---|\n";
  for (const auto& [group, numbers] : counts) {
    page << "| " << group << " |";
    for (const int n : numbers) page << " " << n << " |";
    page << "\n";
  }
  page << "\n## Tests that do not pass\n\n| test | outcome | why |\n|---|---|---|\n";
  for (const Row& row : rows) {
    if (!passed(row) && row.excluded.empty())
      page << "| " << row.name << " | " << kOutcomeNames[static_cast<int>(row.verdict.outcome)] << " | "
           << first_line(row.verdict.why) << " |\n";
  }
  page << "\n## Tests that pass with sizes given\n\n";
  for (const Row& row : rows)
    if (row.verdict.outcome == Outcome::kPassSizes) page << "- " << row.name << "\n";
  page << kernel_table(rows);
  return page.str();
}

TEST(Conformance, NodeTestsHaveTheOutcomesOfThePage) {
  const fs::path folder = unpacked_tests();
  if (folder.empty())
    GTEST_SKIP() << "the ONNX node tests are not here (../shared/data/onnx_node_tests, or TENON_SHARED_DIR)";
  const char* only = std::getenv("TENON_NODE_TESTS");  // a part of names, while working on an operator
  const fs::path scratch = fs::path(TENON_BINARY_DIR) / "onnx_node_tests/scratch";
  fs::create_directories(scratch);
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (only == nullptr || name.find(only) != std::string::npos) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  std::vector<Row> rows;
  std::array<int, 7> counts{};
  for (const std::string& name : names) {
    const NodeCase test(folder / name);
    Row& row = rows.emplace_back(
        Row{name, excluded_class(test.model()), sole_operator(test.model()), run_apart(test, scratch)});
    ++counts[static_cast<size_t>(row.verdict.outcome)];
    if (row.verdict.outcome == Outcome::kRefused) {
      EXPECT_TRUE(names_an_operator(test.model(), row.verdict.why))
          << name << " is refused without its operator: " << row.verdict.why;
    }
    if (only != nullptr)
      std::cout << name << ": " << kOutcomeNames[static_cast<int>(row.verdict.outcome)] << " " << row.verdict.why
                << "\n";
  }
  for (size_t i = 0; i < counts.size(); ++i) std::cout << kOutcomeNames[i] << ": " << counts[i] << "\n";
  EXPECT_EQ(counts[static_cast<size_t>(Outcome::kCrash)], 0);
  EXPECT_EQ(counts[static_cast<size_t>(Outcome::kHang)], 0);
  if (only != nullptr) return;
  const std::string path = std::string(TENON_SOURCE_DIR) + "/docs/conformance.md", page = page_of(rows);
  if (std::getenv("TENON_UPDATE_DOCS") != nullptr) std::ofstream(path) << page;
  EXPECT_EQ(read_bytes(path), page) << "outcomes changed: if for the better, run the test with TENON_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace tenon::conformance
