#include "text/post_processor.h"

#include <algorithm>
#include <map>

#include "text/json_node.h"

namespace tenon::text {
namespace {

using nlohmann::json;
using Item = PostProcessor::Item;
using Template = PostProcessor::Template;
using NamedId = std::pair<std::string, int32_t>;

constexpr int64_t kMaxTypeId = 255;

Item text_item(Item::Kind kind, int32_t type_id) { return {kind, type_id, {}, {}, {}}; }
Item special_item(const NamedId& token, int32_t type_id) {
  return {Item::kSpecial, type_id, token.first, {token.second}, {token.first}};
}

// ["[SEP]", 102]
Result<NamedId> named_id(const JsonNode& owner, const char* key) {
  TENON_ASSIGN(const JsonNode node, owner.at(key));
  TENON_ASSIGN(const std::vector<JsonNode> parts, node.elements());
  if (parts.size() != 2) return node.bad("expected a token and its id");
  TENON_ASSIGN(std::string token, parts[0].string());
  TENON_ASSIGN(const int64_t id, parts[1].integer(0, Vocabulary::kMaxId));
  return NamedId(std::move(token), static_cast<int32_t>(id));
}

Result<Item> special_from_json(const std::string& name, const JsonNode& node) {
  Item item{Item::kSpecial, 0, name, {}, {}};
  TENON_ASSIGN(const JsonNode ids, node.at("ids"));
  TENON_ASSIGN(const std::vector<JsonNode> id_nodes, ids.elements());
  for (const JsonNode& id : id_nodes) {
    TENON_ASSIGN(const int64_t number, id.integer(0, Vocabulary::kMaxId));
    item.ids.push_back(static_cast<int32_t>(number));
  }
  TENON_ASSIGN(const JsonNode tokens, node.at("tokens"));
  TENON_ASSIGN(const std::vector<JsonNode> token_nodes, tokens.elements());
  for (const JsonNode& token : token_nodes) {
    TENON_ASSIGN(std::string content, token.string());
    item.tokens.push_back(std::move(content));
  }
  if (item.ids.size() != item.tokens.size()) return node.bad("\"ids\" and \"tokens\" differ in length");
  return item;
}

Result<Template> template_from_json(const JsonNode& node, const std::map<std::string, Item>& specials, bool pair) {
  Template items;
  TENON_ASSIGN(const std::vector<JsonNode> pieces, node.elements());
  for (const JsonNode& piece : pieces) {
    TENON_ASSIGN(const std::optional<JsonNode> sequence, piece.find("Sequence"));
    TENON_ASSIGN(const std::optional<JsonNode> special, piece.find("SpecialToken"));
    if (!sequence == !special) return piece.bad("expected either \"Sequence\" or \"SpecialToken\"");
    const JsonNode& body = sequence ? *sequence : *special;
    TENON_ASSIGN(const JsonNode id_node, body.at("id"));
    TENON_ASSIGN(const std::string id, id_node.string());
    TENON_ASSIGN(const int64_t type_id, body.integer("type_id", 0, kMaxTypeId, 0));
    if (special) {
      const auto found = specials.find(id);
      if (found == specials.end()) return id_node.bad(fmt::format("\"{}\" is not among \"special_tokens\"", id));
      items.push_back(found->second);
      items.back().type_id = static_cast<int32_t>(type_id);
    } else if (id == "A" || (id == "B" && pair)) {
      items.push_back(text_item(id == "A" ? Item::kFirst : Item::kSecond, static_cast<int32_t>(type_id)));
    } else {
      return id_node.bad(fmt::format("there is no sequence \"{}\" in this template", id));
    }
  }
  for (const Item::Kind kind : {Item::kFirst, Item::kSecond}) {
    const auto count = std::count_if(items.begin(), items.end(), [&](const Item& item) { return item.kind == kind; });
    if (count != (kind == Item::kFirst || pair)) return node.bad("each sequence must stand in the template once");
  }
  return items;
}

Result<PostProcessor> from_template(const JsonNode& node) {
  std::map<std::string, Item> specials;
  TENON_ASSIGN(const JsonNode list, node.at("special_tokens"));
  TENON_ASSIGN(const auto members, list.members());
  for (const auto& [name, member] : members) {
    TENON_ASSIGN(Item item, special_from_json(name, member));
    specials.emplace(name, std::move(item));
  }
  TENON_ASSIGN(const JsonNode single_node, node.at("single"));
  TENON_ASSIGN(Template single, template_from_json(single_node, specials, false));
  TENON_ASSIGN(const JsonNode pair_node, node.at("pair"));
  TENON_ASSIGN(Template pair, template_from_json(pair_node, specials, true));
  return PostProcessor(std::move(single), std::move(pair));
}

json template_json(const Template& items, json& specials) {
  json list = json::array();
  for (const Item& item : items) {
    const bool special = item.kind == Item::kSpecial;
    const std::string id = special ? item.name : item.kind == Item::kFirst ? "A" : "B";
    list.push_back({{special ? "SpecialToken" : "Sequence", {{"id", id}, {"type_id", item.type_id}}}});
    if (special) specials[id] = {{"id", id}, {"ids", item.ids}, {"tokens", item.tokens}};
  }
  return list;
}

}  // namespace

PostProcessor::PostProcessor()
    : PostProcessor({text_item(Item::kFirst, 0)}, {text_item(Item::kFirst, 0), text_item(Item::kSecond, 1)}) {}

PostProcessor::PostProcessor(Template single, Template pair, std::optional<Trim> trim)
    : single_(std::move(single)), pair_(std::move(pair)), trim_(trim) {}

PostProcessor PostProcessor::bert(NamedId cls, NamedId sep) {
  const Item first = text_item(Item::kFirst, 0), second = text_item(Item::kSecond, 1);
  const Item begin = special_item(cls, 0), end = special_item(sep, 0);
  return {{begin, first, end}, {begin, first, end, second, special_item(sep, 1)}};
}

PostProcessor PostProcessor::roberta(const NamedId& cls, const NamedId& sep, std::optional<Trim> trim) {
  const Item first = text_item(Item::kFirst, 0), second = text_item(Item::kSecond, 0);
  const Item begin = special_item(cls, 0), end = special_item(sep, 0);
  return {{begin, first, end}, {begin, first, end, end, second, end}, trim};
}

PostProcessor PostProcessor::t5(const NamedId& eos) {
  const Item first = text_item(Item::kFirst, 0), second = text_item(Item::kSecond, 0), end = special_item(eos, 0);
  return {{first, end}, {first, end, second, end}};
}

PostProcessor PostProcessor::llama(const NamedId& bos) {
  const Item first = text_item(Item::kFirst, 0), second = text_item(Item::kSecond, 1);
  return {{special_item(bos, 0), first}, {special_item(bos, 0), first, special_item(bos, 1), second}};
}

Result<PostProcessor> PostProcessor::from_json(const JsonNode& node) {
  TENON_ASSIGN(const JsonNode type_node, node.at("type"));
  TENON_ASSIGN(const std::string type, type_node.string());
  if (type == "TemplateProcessing") return from_template(node);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    TENON_ASSIGN(const NamedId cls, named_id(node, "cls"));
    TENON_ASSIGN(const NamedId sep, named_id(node, "sep"));
    if (type == "BertProcessing") return bert(cls, sep);
    TENON_ASSIGN(const bool trims, node.boolean("trim_offsets", true));
    TENON_ASSIGN(const bool prefix, node.boolean("add_prefix_space", true));
    return roberta(cls, sep, trims ? std::optional<Trim>(Trim{prefix}) : std::nullopt);
  }
  if (type == "ByteLevel") {
    TENON_ASSIGN(const bool trims, node.boolean("trim_offsets", true));
    TENON_ASSIGN(const bool prefix, node.boolean("add_prefix_space", true));
    PostProcessor processor;
    if (trims) processor.trim_ = Trim{prefix};
    return processor;
  }
  if (type == "Sequence") return from_sequence(node);
  return type_node.unsupported(fmt::format("the post-processor \"{}\"", type));
}

// Steps that trim offsets, and at most one that adds tokens.
Result<PostProcessor> PostProcessor::from_sequence(const JsonNode& node) {
  TENON_ASSIGN(const JsonNode list, node.at("processors"));
  TENON_ASSIGN(const std::vector<JsonNode> parts, list.elements());
  PostProcessor whole;
  for (const JsonNode& part : parts) {
    TENON_ASSIGN(PostProcessor step, from_json(part));
    const bool adds = step.special_count(true) > 0;
    if (adds && whole.special_count(true) > 0) return list.unsupported("several post-processors that add tokens");
    if (!step.trim_) step.trim_ = whole.trim_;
    if (!adds) {
      step.single_ = std::move(whole.single_);
      step.pair_ = std::move(whole.pair_);
    }
    whole = std::move(step);
  }
  return whole;
}

json PostProcessor::to_json() const {
  if (trim_) {
    const json trim = {{"type", "ByteLevel"},
                       {"trim_offsets", true},
                       {"add_prefix_space", trim_->add_prefix_space},
                       {"use_regex", true}};
    PostProcessor rest = *this;
    rest.trim_.reset();
    return {{"type", "Sequence"}, {"processors", {trim, rest.to_json()}}};
  }
  json specials = json::object();
  json single = template_json(single_, specials), pair = template_json(pair_, specials);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(specials)}};
}

int PostProcessor::special_count(bool pair) const {
  int count = 0;
  for (const Item& item : items(pair)) count += static_cast<int>(item.ids.size());
  return count;
}

}  // namespace tenon::text
