// The corpora that make_goldens.py has digests of, and the comparison with them.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "digest.h"
#include "files.h"
#include "text/unicode.h"

namespace tenon::text {

// Texts, or pairs of texts when `seconds` is not empty.
struct Corpus {
  std::vector<std::string> firsts, seconds;
  void add(std::string first) { firsts.push_back(std::move(first)); }
  void add(std::string first, std::string second) {
    firsts.push_back(std::move(first));
    seconds.push_back(std::move(second));
  }
};

inline std::vector<std::string> lines(const std::string& name) {
  const std::string text = read_text(shared_data(name));
  std::vector<std::string> out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

inline Corpus squad(const std::string& part) {
  Corpus corpus;
  const nlohmann::json file = read_json(shared_data("squad_v1.1/dev-v1.1.json"));
  for (const nlohmann::json& article : file["data"]) {
    for (const nlohmann::json& paragraph : article["paragraphs"]) {
      if (part == "contexts") corpus.add(paragraph["context"]);
      for (const nlohmann::json& qa : paragraph["qas"]) {
        if (part == "questions") corpus.add(qa["question"]);
        if (part == "pairs") corpus.add(qa["question"], paragraph["context"]);
      }
    }
  }
  return corpus;
}

inline Corpus sst2() {
  Corpus corpus;
  for (const char* name : {"sst2/glue_dev.tsv", "sst2/glue_train.tsv"}) {
    std::vector<std::string> rows = lines(name);
    for (size_t i = 1; i < rows.size(); ++i) corpus.add(rows[i].substr(0, rows[i].rfind('\t')));
  }
  return corpus;
}

// The first two fields of each row; a field in quotes may hold commas and, doubled, quotes.
inline Corpus stsb() {
  Corpus corpus;
  for (const std::string& line : lines("stsb/stsb-en-dev.csv")) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (size_t i = 0; i < line.size(); ++i) {
      if (line[i] == '"') {
        if (quoted && line[i + 1] == '"')
          fields.back() += line[i++];
        else
          quoted = !quoted;
      } else if (line[i] == ',' && !quoted) {
        fields.emplace_back();
      } else {
        fields.back() += line[i];
      }
    }
    corpus.add(fields.at(0), fields.at(1));
  }
  return corpus;
}

inline Corpus wikitext() {
  Corpus corpus;
  for (const char* name : {"text/wikitext-2/valid.txt", "text/wikitext-2/test.txt"}) {
    for (std::string& line : lines(name)) corpus.add(std::move(line));
  }
  return corpus;
}

inline Corpus nq_questions() {
  Corpus corpus;
  for (const std::string& line : lines("text/nq_open/NQ-open.dev.jsonl"))
    corpus.add(nlohmann::json::parse(line)["question"]);
  return corpus;
}

inline Corpus code_points() {
  Corpus corpus;
  for (char32_t c = 1; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    corpus.add(text);
    corpus.add("a" + text + "b");
  }
  return corpus;
}

inline Corpus read_corpus(const std::string& name) {
  if (name == "squad contexts") return squad("contexts");
  if (name == "squad questions") return squad("questions");
  if (name == "squad pairs" || name == "squad windows") return squad("pairs");
  if (name == "sst2") return sst2();
  if (name == "stsb pairs") return stsb();
  if (name == "wikitext") return wikitext();
  if (name == "nq questions") return nq_questions();
  EXPECT_EQ(name, "code points");
  return code_points();
}

// Many settings are compared over the same corpora: each is read once.
inline const Corpus& corpus_of(std::string_view name) {
  static std::map<std::string, Corpus> read;
  const auto [it, is_new] = read.try_emplace(std::string(name));
  if (is_new) it->second = read_corpus(it->first);
  return it->second;
}

// The blocks of lines of a corpus whose encodings differ from what `entry` of a digests.json holds. encode(i) gives the
// rows of line i.
template <class Encode>
std::vector<std::string> blocks_that_differ(const nlohmann::json& entry, const Corpus& corpus, Encode encode) {
  std::vector<std::string> differing;
  const size_t count = corpus.firsts.size(), block = entry["block"];
  size_t tokens = 0;
  for (size_t begin = 0; begin < count; begin += block) {
    Digest digest;
    for (size_t i = begin; i < std::min(begin + block, count); ++i) {
      for (const Encoding& row : encode(i)) {
        digest.add(row);
        tokens += row.size();
      }
    }
    if (fmt::format("{:016x}", digest.value()) != entry["digests"][begin / block].get<std::string>()) {
      differing.push_back(fmt::format("lines {} to {}", begin, begin + block));
    }
  }
  fmt::print("{}: {} lines, {} tokens compared\n", entry["corpus"].get<std::string>(), count, tokens);
  return differing;
}

}  // namespace tenon::text
