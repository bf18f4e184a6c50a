#include "text/json_node.h"

#include <limits>

namespace tenon::text {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 64;

// Builds the tree from the parser's events.
class TreeBuilder final : public nlohmann::json_sax<json> {
 public:
  TreeBuilder(JsonFile& file, const std::string& name) : file_(file), name_(name) {}
  const Status& status() const { return status_; }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(json::binary_t&) override { return false; }  // not in JSON texts

  bool number_integer(int64_t value) override { return in_vocab_ ? add_token(value) : add(value); }
  bool number_unsigned(uint64_t value) override {
    if (!in_vocab_) return add(value);
    constexpr uint64_t kMost = std::numeric_limits<int64_t>::max();
    return add_token(static_cast<int64_t>(value < kMost ? value : kMost));
  }

  bool key(std::string& key) override {
    key_ = std::move(key);
    if (in_vocab_) return true;
    if (open_.back()->contains(key_)) return fail(fmt::format("\"{}\" is there twice", key_));
    return true;
  }

  bool start_object(size_t) override {
    if (in_vocab_) return not_an_id();
    if (open_.size() == 2 && key_ == "vocab" && open_[0]->contains("model") && open_[1] == &(*open_[0])["model"]) {
      in_vocab_ = file_.has_vocab = true;
      return true;
    }
    return open(json::object());
  }
  bool start_array(size_t) override { return in_vocab_ ? not_an_id() : open(json::array()); }
  bool end_object() override {
    if (in_vocab_) {
      in_vocab_ = false;
    } else {
      open_.pop_back();
    }
    return true;
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }

  bool parse_error(size_t, const std::string&, const json::exception& e) override {
    return fail(fmt::format("not valid JSON: {}", e.what()));
  }

 private:
  bool fail(std::string_view why) {
    status_ = error(ErrorCode::kBadModel, "{}: {}", name_, why);
    return false;
  }
  bool not_an_id() { return fail(fmt::format("model.vocab[\"{}\"]: the id is not an integer", key_)); }

  template <class T>
  bool add(T&& value) {
    if (in_vocab_) return not_an_id();
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
  bool in_vocab_ = false;
};

}  // namespace

Result<JsonFile> parse_json(std::string_view text, const std::string& name) {
  JsonFile file;
  TreeBuilder builder(file, name);
  if (json::sax_parse(text.begin(), text.end(), &builder)) return file;
  return builder.status().ok() ? error(ErrorCode::kBadModel, "{}: not valid JSON", name) : builder.status();
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
