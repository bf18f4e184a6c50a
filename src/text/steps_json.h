// Steps in a tokenizer.json, those of a normalizer, a pre-tokenizer or a decoder: one object, or a "Sequence" whose member
// `key` lists more.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "text/json_node.h"

namespace tenon::text {

// from_json(type, the node of the type, the node of the step) reads one. Errors: its own; bad-model.
template <class Step, class FromJson>
Status read_steps(const JsonNode& node, const char* key, const FromJson& from_json, std::vector<Step>& steps) {
  TENON_ASSIGN(const JsonNode type_node, node.at("type"));
  TENON_ASSIGN(const std::string type, type_node.string());
  if (type == "Sequence") {
    TENON_ASSIGN(const JsonNode list, node.at(key));
    TENON_ASSIGN(const std::vector<JsonNode> parts, list.elements());
    for (const JsonNode& part : parts) TENON_TRY(read_steps(part, key, from_json, steps));
    return {};
  }
  TENON_ASSIGN(Step step, from_json(type, type_node, node));
  steps.push_back(std::move(step));
  return {};
}

// to_json(step) for each of these variants.
template <class Step, class ToJson>
nlohmann::json steps_json(const std::vector<Step>& steps, const char* key, const ToJson& to_json) {
  nlohmann::json list = nlohmann::json::array();
  for (const Step& step : steps) list.push_back(std::visit(to_json, step));
  if (list.empty()) return nullptr;
  if (list.size() == 1) return list[0];
  return {{"type", "Sequence"}, {key, std::move(list)}};
}

}  // namespace tenon::text
