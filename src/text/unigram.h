// Unigram: the most probable way to cut a word into tokens, each with its log-probability (Kudo 2018, "Subword
// Regularization"), found by dynamic programming over the word's bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/model.h"

namespace tenon::text {

class Unigram final : public Model {
 public:
  // `scores`: by id. `unk_id` -1: there is no unknown token, and characters that no token covers are left out.
  // Errors: bad-model (a score that is no number, an unk_id outside the vocabulary); `where` begins the message.
  static Result<std::unique_ptr<const Unigram>> build(Vocabulary vocabulary, std::vector<double> scores, int32_t unk_id,
                                                      bool byte_fallback, const std::string& where);

  void tokenize(std::string_view word, std::vector<Piece>& pieces) const override;
  const Vocabulary& vocabulary() const override { return vocabulary_; }
  std::string_view unk_token() const override { return vocabulary_.token(unk_id_); }
  std::string to_json() const override;

 private:
  // All tokens as a tree of bytes. The children of a node stand together, by their bytes.
  struct Node {
    uint32_t first_child = 0;
    int32_t id = -1;  // of the token that ends here
    uint16_t children = 0;
    uint8_t byte = 0;
  };

  Unigram(Vocabulary vocabulary, std::vector<double> scores, int32_t unk_id, bool byte_fallback);
  void build_trie();
  const Node* child(const Node& node, uint8_t byte) const;
  void append(std::string_view word, int32_t id, size_t begin, size_t end, std::vector<Piece>& pieces) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;
  int32_t unk_id_;
  bool byte_fallback_;
  double unk_score_ = 0;
  std::vector<int32_t> byte_ids_;  // of <0x00> to <0xFF>; -1: not there
  std::vector<Node> nodes_;        // the root is the first
};

}  // namespace tenon::text
