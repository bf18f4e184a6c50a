// How fast texts become ids and offsets on one thread.
//
// Usage: tokenizer_bench TOKENIZER TEXTS [RUNS]
//   TOKENIZER  a tokenizer.json, a vocab.txt (uncased) or a model's folder
//   TEXTS      a file with one text a line
// Prints one line for each run: seconds, tokens, tokens per second, and at the end the median. Seconds are the
// processor's: one thread computes, and on a shared machine the wall clock would measure the others. When RUNS is 0 a
// line "run" on standard input starts each run, so that another program can take turns with this one.
#include <fmt/core.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "tenon/error.h"
#include "tenon/tokenizer.h"

namespace {

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<std::string> read_lines(const char* path) {
  std::ifstream file(path);
  if (!file) throw tenon::Error(tenon::ErrorCode::kNotFound, fmt::format("{}: cannot be read", path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(std::move(line));
  return lines;
}

double run(const tenon::Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  const double begin = cpu_seconds();
  const std::vector<tenon::Encoding> rows = tokenizer.encode_batch(texts);
  const double seconds = cpu_seconds() - begin;
  size_t tokens = 0;
  for (const tenon::Encoding& row : rows) tokens += row.size();
  const double rate = static_cast<double>(tokens) / seconds;
  fmt::print("{:.6f} s  {} tokens  {:.0f} tokens/s\n", seconds, tokens, rate);
  std::fflush(stdout);
  return rate;
}

void bench(const char* path, const std::vector<std::string>& texts, int runs) {
  const double begin = cpu_seconds();
  const tenon::Tokenizer tokenizer = tenon::Tokenizer::load(path);
  fmt::print("loaded in {:.2f} ms\n", 1e3 * (cpu_seconds() - begin));
  std::fflush(stdout);
  if (runs == 0) {
    for (std::string line; std::getline(std::cin, line) && line == "run";) run(tokenizer, texts);
    return;
  }
  std::vector<double> rates;
  for (int i = 0; i < runs; ++i) rates.push_back(run(tokenizer, texts));
  std::sort(rates.begin(), rates.end());
  fmt::print("median {:.0f} tokens/s\n", rates[rates.size() / 2]);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: tokenizer_bench TOKENIZER TEXTS [RUNS]\n");
    return 2;
  }
  try {
    bench(argv[1], read_lines(argv[2]), argc > 3 ? std::stoi(argv[3]) : 9);
  } catch (const std::exception& e) {
    fmt::print(stderr, "tokenizer_bench: {}\n", e.what());
    return 1;
  }
  return 0;
}
