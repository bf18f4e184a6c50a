// A model as an importer hands it to the compiler: the graph and what the source says about its use.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace tenon::ir {

struct Model {
  std::unique_ptr<Graph> graph;
  std::string source;        // "model.onnx (opset 17, pytorch 2.1)"
  std::string architecture;  // "bert", "roberta", "distilbert", "electra", "mpnet" or ""
  // What the outputs mean: "embedding", "encoder", "sequence-classification", "token-classification", "question-answering",
  // "fill-mask", "pretraining" or "" (unknown).
  std::string task;
  std::vector<std::string> labels;                // class names by index
  std::map<std::string, std::string> properties;  // anything else worth keeping: "max_position_embeddings", "similarity" …
  std::vector<std::string> notes;                 // what the importer decided and a user may want to know
};

}  // namespace tenon::ir
