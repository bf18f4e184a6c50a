// What lies beside a model and goes into the engine with it: a tokenizer, names of classes, how images are prepared.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "ir/model.h"
#include "text/tokenizer.h"

namespace tenon::builder {

// The folder of the files beside `model`, a file or a folder: its own or, where that is called "onnx" and has no
// config.json, the one above, as repositories of the Hugging Face Hub have it.
std::string folder_beside(const std::string& model);

// The tokenizer in the folder (or the folder of the file) `asked`, or else in `folder`; null where there is none. A
// damaged one is an error only if it was asked for, else a note.
Result<std::shared_ptr<const text::Tokenizer>> find_tokenizer(const std::string& folder, const std::string& asked,
                                                              std::vector<std::string>& notes);

// What ONNX files leave to the config.json and preprocessor_config.json of the checkpoint they were made of: labels,
// "problem_type", and what hf/image_processor.h reads. What the model has stays; files that do not fit it become notes.
void read_beside(const std::string& folder, ir::Model& model);

}  // namespace tenon::builder
