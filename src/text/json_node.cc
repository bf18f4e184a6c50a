#include "text/json_node.h"

#include <algorithm>
#include <limits>

namespace tenon::text {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 64;

// Builds the tree from the parser's events.
class TreeBuilder final : public nlohmann::json_sax<json> {
 public:
  TreeBuilder(JsonFile& file, const std::string& name, bool is_vocab)
      : file_(file), name_(name), root_(is_vocab ? Table::kIds : Table::kNone) {}
  const Status& status() const { return status_; }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool binary(json::binary_t&) override { return false; }  // not in JSON texts
  bool number_float(double value, const std::string&) override {
    return table_ == Table::kScores ? add_score(value) : add(value);
  }
  bool number_integer(int64_t value) override { return add_integer(value); }
  bool number_unsigned(uint64_t value) override {
    constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
    return value > kMost && table_ == Table::kNone ? add(value)
                                                   : add_integer(static_cast<int64_t>(std::min(value, kMost)));
  }
  bool string(std::string& value) override {
    if (table_ == Table::kScores || table_ == Table::kMerges) return add_string(value);
    return add(std::move(value));
  }

  bool key(std::string& key) override {
    key_ = std::move(key);
    if (table_ != Table::kNone) return true;
    if (open_.back()->contains(key_)) return fail(fmt::format("\"{}\" is there twice", key_));
    return true;
  }

  bool start_object(size_t) override {
    if (table_ != Table::kNone) return bad_element();
    if (open_.empty() && root_ == Table::kIds && !file_.has_vocab) return begin_table(Table::kIds);
    if (is_member_of_model("vocab") && !file_.has_vocab) return begin_table(Table::kIds);
    return open(json::object());
  }
  bool start_array(size_t) override {
    if (table_ == Table::kScores || table_ == Table::kMerges) {
      if (in_row_) return bad_element();
      in_row_ = true;
      row_.clear();
      scored_ = false;
      return true;
    }
    if (table_ == Table::kIds) return bad_element();
    if (is_member_of_model("vocab") && !file_.has_vocab) return begin_table(Table::kScores);
    if (is_member_of_model("merges") && file_.merges.empty()) return begin_table(Table::kMerges);
    return open(json::array());
  }
  bool end_object() override { return end(); }
  bool end_array() override { return in_row_ ? end_row() : end(); }

  bool parse_error(size_t, const std::string&, const json::exception& e) override {
    return fail(fmt::format("not valid JSON: {}", e.what()));
  }

 private:
  // What is being read: the tree, or one of the lists.
  enum class Table { kNone, kIds, kScores, kMerges };

  bool fail(std::string_view why) {
    status_ = error(ErrorCode::kBadModel, "{}: {}", name_, why);
    return false;
  }
  bool bad_element() {
    switch (table_) {
      case Table::kScores:
        return fail(fmt::format("model.vocab[{}]: expected a token and its score", file_.scores.size()));
      case Table::kMerges:
        return fail(fmt::format("model.merges[{}]: expected two tokens", file_.merges.size()));
      default:
        return fail(fmt::format("model.vocab[\"{}\"]: the id is not an integer", key_));
    }
  }

  bool is_member_of_model(std::string_view member) const {
    return open_.size() == 2 && key_ == member && open_[0]->is_object() && open_[0]->contains("model") &&
           open_[1] == &(*open_[0])["model"] && open_[1]->is_object();
  }
  bool begin_table(Table table) {
    table_ = table;
    if (table != Table::kMerges) file_.has_vocab = true;
    file_.has_scores = file_.has_scores || table == Table::kScores;
    return true;
  }
  bool end() {
    if (table_ != Table::kNone) {
      table_ = Table::kNone;
    } else {
      open_.pop_back();
    }
    return true;
  }

  bool end_row() {
    in_row_ = false;
    if (table_ == Table::kMerges) {
      if (row_.size() != 2) return bad_element();
      file_.merges.emplace_back(std::move(row_[0]), std::move(row_[1]));
      return true;
    }
    if (row_.size() != 1 || !scored_) return bad_element();
    if (file_.scores.size() > static_cast<size_t>(Vocabulary::kMaxId)) return fail("model.vocab: too many tokens");
    file_.vocab.add(row_[0], static_cast<int32_t>(file_.scores.size()));
    file_.scores.push_back(score_);
    return true;
  }
  bool add_string(std::string& value) {
    if (in_row_) {
      if (scored_ || row_.size() == 2) return bad_element();
      row_.push_back(std::move(value));
      return true;
    }
    if (table_ == Table::kScores) return bad_element();
    auto merge = split_merge(value, fmt::format("{}: model.merges[{}]", name_, file_.merges.size()));
    if (!merge.ok()) {
      status_ = merge.status();
      return false;
    }
    file_.merges.push_back(std::move(*merge));
    return true;
  }
  bool add_score(double value) {
    if (!in_row_ || scored_ || row_.size() != 1) return bad_element();
    score_ = value;
    return scored_ = true;
  }
  bool add_integer(int64_t value) {
    if (table_ == Table::kIds) return add_token(value);
    return table_ == Table::kScores ? add_score(static_cast<double>(value)) : add(value);
  }

  template <class T>
  bool add(T&& value) {
    if (table_ != Table::kNone) return bad_element();
    place(std::forward<T>(value));
    return true;
  }

  json* place(json value) {
    if (open_.empty()) return &(file_.root = std::move(value));
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  // A parent does not grow while one of its children is open, so the pointers stay valid.
  bool open(json container) {
    if (open_.size() >= kMaxDepth) return fail(fmt::format("nested deeper than {} levels", kMaxDepth));
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool add_token(int64_t id) {
    if (id < 0 || id > Vocabulary::kMaxId) {
      return fail(fmt::format("model.vocab[\"{}\"]: the id {} is not between 0 and {}", key_, id, Vocabulary::kMaxId));
    }
    file_.vocab.add(key_, static_cast<int32_t>(id));
    return true;
  }

  JsonFile& file_;
  const std::string& name_;
  Status status_;
  std::vector<json*> open_;
  std::string key_;
  Table root_, table_ = Table::kNone;
  bool in_row_ = false, scored_ = false;  // within an element of a list; it has its score
  std::vector<std::string> row_;
  double score_ = 0;
};

Result<JsonFile> parse(std::string_view text, const std::string& name, bool is_vocab) {
  JsonFile file;
  TreeBuilder builder(file, name, is_vocab);
  if (json::sax_parse(text.begin(), text.end(), &builder)) return file;
  return builder.status().ok() ? error(ErrorCode::kBadModel, "{}: not valid JSON", name) : builder.status();
}

}  // namespace

Result<JsonFile> parse_json(std::string_view text, const std::string& name) { return parse(text, name, false); }

Result<JsonFile> parse_vocab_json(std::string_view text, const std::string& name) { return parse(text, name, true); }

Result<std::pair<std::string, std::string>> split_merge(std::string_view line, const std::string& where) {
  const size_t blank = line.find(' ');
  if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos) {
    return error(ErrorCode::kBadModel, "{}: expected two tokens with a blank between them", where);
  }
  return std::pair<std::string, std::string>(line.substr(0, blank), line.substr(blank + 1));
}

JsonNode JsonNode::child(const json& value, std::string_view key) const {
  return {value, where_ + separator_ + std::string(key), "."};
}

Status JsonNode::wrong_type(std::string_view wanted) const {
  return bad(fmt::format("expected {}, found {}", wanted, value_->type_name()));
}

Result<std::string> JsonNode::string() const {
  if (!value_->is_string()) return wrong_type("a string");
  return value_->get<std::string>();
}

Result<int64_t> JsonNode::integer(int64_t least, int64_t most) const {
  if (!value_->is_number_integer()) return wrong_type("an integer");
  const bool huge = value_->is_number_unsigned() && value_->get<uint64_t>() > static_cast<uint64_t>(most);
  const int64_t number = huge ? most : value_->get<int64_t>();
  if (huge || number < least || number > most) {
    return bad(fmt::format("{} is not between {} and {}", value_->dump(), least, most));
  }
  return number;
}

Result<std::vector<JsonNode>> JsonNode::elements() const {
  if (!value_->is_array()) return wrong_type("an array");
  std::vector<JsonNode> nodes;
  for (const json& element : *value_) {
    nodes.push_back(JsonNode(element, fmt::format("{}[{}]", where_, nodes.size()), "."));
  }
  return nodes;
}

Result<std::vector<std::pair<std::string, JsonNode>>> JsonNode::members() const {
  if (!value_->is_object()) return wrong_type("an object");
  std::vector<std::pair<std::string, JsonNode>> nodes;
  for (const auto& [key, value] : value_->items()) nodes.emplace_back(key, child(value, key));
  return nodes;
}

Result<std::optional<JsonNode>> JsonNode::find(const char* key) const {
  if (!value_->is_object()) return wrong_type("an object");
  const auto found = value_->find(key);
  if (found == value_->end() || found->is_null()) return std::optional<JsonNode>();
  return std::optional<JsonNode>(child(*found, key));
}

Result<JsonNode> JsonNode::at(const char* key) const {
  TENON_ASSIGN(std::optional<JsonNode> node, find(key));
  if (!node) return bad(fmt::format("\"{}\" is missing", key));
  return *node;
}

Result<std::string> JsonNode::string(const char* key, std::string fallback) const {
  TENON_ASSIGN(const std::optional<JsonNode> node, find(key));
  return node ? node->string() : Result<std::string>(std::move(fallback));
}

Result<bool> JsonNode::boolean(const char* key, bool fallback) const {
  TENON_ASSIGN(const std::optional<JsonNode> node, find(key));
  if (!node) return fallback;
  if (!node->value().is_boolean()) return node->wrong_type("true or false");
  return node->value().get<bool>();
}

Result<int64_t> JsonNode::integer(const char* key, int64_t least, int64_t most, int64_t fallback) const {
  TENON_ASSIGN(const std::optional<JsonNode> node, find(key));
  return node ? node->integer(least, most) : Result<int64_t>(fallback);
}

}  // namespace tenon::text
