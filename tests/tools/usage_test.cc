// What the program says to command lines that mean nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/run_program.h"

namespace tenon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

test::Outcome run(const std::string& command) { return test::run_program(command, testing::TempDir()); }

TEST(Usage, AVerbIsAskedFor) {
  for (const char* command : {"tenon", "tenon buidl model.onnx"}) {
    const test::Outcome outcome = run(command);
    EXPECT_EQ(outcome.code, 2) << command;
    EXPECT_THAT(outcome.log, AllOf(HasSubstr("build, tune, run, bench"), HasSubstr("tenon --help")));
  }
  EXPECT_THAT(run("tenon buidl model.onnx").log, HasSubstr("\"buidl\""));
  EXPECT_EQ(run("tenon --version").code, 0);
  EXPECT_EQ(run("tenon --help").code, 0);
}

TEST(Usage, AFileOfNoTextsIsNamed) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "tenon_usage_empty.txt";
  std::ofstream(file) << "";
  const test::Outcome of_file = run("tenon run m.tenon --texts " + file.string());
  EXPECT_EQ(of_file.code, 2);
  EXPECT_THAT(of_file.log, HasSubstr(file.string() + ": no line there"));
  const test::Outcome of_input = run("tenon run m.tenon --pairs - < " + file.string());
  EXPECT_EQ(of_input.code, 2);
  EXPECT_THAT(of_input.log, HasSubstr("standard input: no line there"));
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace tenon
