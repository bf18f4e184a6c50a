// How long texts take one by one from text to labels, tokenizer included.
//
// Usage: text_bench ENGINE TEXTS [THREADS]
//   ENGINE  of a classifier, with its tokenizer
//   TEXTS   a file with one text a line
// A line "run" on standard input classifies every text in a call of its own, once; then a line "SECONDS MEDIAN LABELS"
// appears: of all texts, of one, and the best labels in order (a: the first). Another program takes turns with this one.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "tenon/error.h"
#include "tenon/text_model.h"

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void classify_all(tenon::TextModel& model, const std::vector<std::string>& texts) {
  std::string labels;
  std::vector<double> times;
  const double begin = seconds();
  for (const std::string& text : texts) {
    const double start = seconds();
    const std::string best = model.classify({text})[0][0].label;
    labels += static_cast<char>('a' + (std::ranges::find(model.labels(), best) - model.labels().begin()));
    times.push_back(seconds() - start);
  }
  const double all = seconds() - begin;
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
  fmt::print("{:.6f} {:.9f} {}\n", all, times[times.size() / 2], labels);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) {
    fmt::print(stderr, "usage: text_bench ENGINE TEXTS [THREADS]\n");
    return 2;
  }
  std::ifstream file(argv[2]);
  std::vector<std::string> texts;
  for (std::string line; std::getline(file, line);) texts.push_back(std::move(line));
  if (texts.empty()) throw tenon::Error(tenon::ErrorCode::kNotFound, fmt::format("{}: no texts", argv[2]));
  tenon::RuntimeOptions runtime;
  runtime.threads = argc > 3 ? std::atoi(argv[3]) : 0;
  tenon::TextModel model(argv[1], {}, runtime);
  for (std::string line; std::getline(std::cin, line) && line == "run";) classify_all(model, texts);
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "text_bench: {}\n", e.what());
  return 1;
}
