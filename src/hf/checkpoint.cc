#include "hf/checkpoint.h"

#include <filesystem>

#include "hf/family.h"
#include "hf/image_processor.h"
#include "hf/sentence_transformers.h"
#include "hf/tensor_files.h"
#include "network/network_impl.h"

namespace tenon::hf {
namespace {

namespace fs = std::filesystem;

// A class name is its family and its head: "BertForMaskedLM". No head: the bare encoder.
enum class Head { kNone, kSequence, kTokens, kQuestion, kWords, kPreTraining, kNextSentence, kImage };

Result<Head> head_of(const std::string& architecture) {
  const size_t at = architecture.find("For");
  const std::string head = at == std::string::npos ? "" : architecture.substr(at);
  if (architecture.empty() || architecture.ends_with("Model")) return Head::kNone;
  if (head == "ForSequenceClassification") return Head::kSequence;
  if (head == "ForTokenClassification") return Head::kTokens;
  if (head == "ForQuestionAnswering") return Head::kQuestion;
  if (head == "ForMaskedLM") return Head::kWords;
  if (head == "ForPreTraining" && (architecture.starts_with("Bert") || architecture.starts_with("Electra")))
    return Head::kPreTraining;
  if (head == "ForNextSentencePrediction" && architecture.starts_with("Bert")) return Head::kNextSentence;
  if (architecture == "ViTForImageClassification") return Head::kImage;
  return error(
      ErrorCode::kUnsupported,
      "architecture '{}' is not supported; supported are …Model, …ForSequenceClassification, …ForTokenClassification, "
      "…ForQuestionAnswering, …ForMaskedLM, ViTForImageClassification, BertForPreTraining, BertForNextSentencePrediction, ElectraForPreTraining",
      architecture);
}

// The rows whose words are to be predicted.
Value masked_rows(Assembler& a, Value hidden, const ImportOptions& options) {
  if (!options.gather_masked) return hidden;
  return a.net.gather_rows(hidden, a.net.add_input("masked_positions", DType::kI64, {"batch", "masked"}));
}

Value next_sentence(Assembler& a, Value hidden) { return a.linear(a.pooler(hidden), "cls.seq_relationship", 2); }

// ELECTRA's discriminator: was this token replaced? hidden -> [batch, seq]
Value replaced_tokens(Assembler& a, Value hidden) {
  const std::string head = "discriminator_predictions.";
  const Value x = a.net.activation(a.linear(hidden, head + "dense", a.config.hidden_size), a.config.activation);
  return a.net.select(a.linear(x, head + "dense_prediction", 1), 2, 0);
}

// Adds the head's outputs and returns the task.
std::string add_head(Assembler& a, const Family& family, Head head, Value hidden, const ImportOptions& options) {
  Network& net = a.net;
  net.set_scope("head");
  const bool by_token = head == Head::kTokens || head == Head::kQuestion;
  if (by_token && family.transform != nullptr) hidden = family.transform(a, hidden);
  switch (head) {
    case Head::kSequence:
      net.mark_output(family.classify(a, hidden), "logits");
      return "sequence-classification";
    case Head::kTokens:
      net.mark_output(a.linear(hidden, "classifier", static_cast<int64_t>(a.config.labels.size())), "logits");
      return "token-classification";
    case Head::kQuestion: {
      const Value logits = a.linear(hidden, "qa_outputs", 2);
      net.mark_output(net.select(logits, 2, 0), "start_logits");
      net.mark_output(net.select(logits, 2, 1), "end_logits");
      return "question-answering";
    }
    case Head::kWords:
      net.mark_output(family.predict_words(a, masked_rows(a, hidden, options)), "logits");
      return "fill-mask";
    case Head::kPreTraining:
      if (family.name == "electra") {
        net.mark_output(replaced_tokens(a, hidden), "logits");
      } else {
        net.mark_output(family.predict_words(a, masked_rows(a, hidden, options)), "prediction_logits");
        net.mark_output(next_sentence(a, hidden), "seq_relationship_logits");
      }
      return "pretraining";
    case Head::kNextSentence:
      net.mark_output(next_sentence(a, hidden), "logits");
      return "sequence-classification";
    case Head::kImage:
      net.mark_output(family.classify(a, hidden), "logits");
      return "image-classification";
    case Head::kNone:
      break;
  }
  net.mark_output(hidden, "last_hidden_state");
  if (a.has_pooler()) net.mark_output(a.pooler(hidden), "pooler_output");
  return "encoder";
}

void describe_texts(std::map<std::string, std::string>& p, const Config& c, const Family& family) {
  p["max_position_embeddings"] = std::to_string(c.max_positions);
  const int64_t reserved = family.reserved_positions != nullptr ? family.reserved_positions(c) : 0;
  p["max_tokens"] = std::to_string(c.max_positions - reserved);
  p["limit.seq"] = p["max_tokens"];
  p["pad_token_id"] = std::to_string(c.pad_token_id);
  p["vocab_size"] = std::to_string(c.vocab_size);
}

void describe(ir::Model& model, const Assembler& a, const Family& family, Head head) {
  const Config& c = a.config;
  model.architecture = family.name;
  const bool named = head == Head::kSequence || head == Head::kTokens || head == Head::kImage;
  if (named) model.labels = c.labels;
  auto& p = model.properties;
  if (c.image_size == 0) describe_texts(p, c, family);
  p["hidden_size"] = std::to_string(c.hidden_size);
  p["layers"] = std::to_string(c.layers);
  p["heads"] = std::to_string(c.heads);
  if (!c.problem_type.empty()) p["problem_type"] = c.problem_type;
  if (const auto unused = a.weights.unused(); !unused.empty()) {
    std::string note = fmt::format("{} weights of the checkpoint are not needed: ", unused.size());
    constexpr size_t kShown = 4;
    for (size_t i = 0; i < unused.size() && i < kShown; ++i) note += (i ? ", " : "") + unused[i];
    model.notes.push_back(note + (unused.size() > kShown ? ", …" : ""));
  }
}

Result<ir::Model> import_checkpoint(const std::string& folder, const ImportOptions& options) {
  ir::Model model;
  const bool sentences = is_sentence_transformer(folder);
  SentenceModules modules;
  if (sentences) {
    TENON_ASSIGN(modules, read_sentence_modules(folder));
  }
  const std::string encoder_folder = modules.encoder_folder.empty() ? folder : folder + "/" + modules.encoder_folder;
  const std::string config_file = encoder_folder + "/config.json";
  TENON_ASSIGN(Config config, read_config(config_file));
  // What was saved with the encoder does not matter where only its hidden states are pooled.
  const auto head = sentences ? Result<Head>(Head::kNone) : head_of(config.architecture);
  if (!head.ok()) return head.status().with_context(config_file);
  const std::string weights_file = find_weights(encoder_folder);
  if (weights_file.empty())
    return error(ErrorCode::kNotFound, "{}: no model.safetensors and no pytorch_model.bin", encoder_folder);
  TENON_ASSIGN(TensorMap tensors, read_weights(encoder_folder, weights_file));

  const Family& family = find_family(config.model_type);
  const bool of_images = config.image_size > 0;
  if (of_images && *head != Head::kNone && *head != Head::kImage)
    return error(ErrorCode::kUnsupported, "{}: '{}' reads images", config_file, config.architecture);
  Assembler a(std::move(config), WeightSource(std::move(tensors)), std::string(family.prefix));
  const Value hidden = family.encode(a);
  if (sentences) {
    TENON_ASSIGN(const Value embedding, embed_sentences(a, modules, folder, hidden));
    a.net.mark_output(embedding, "sentence_embedding");
    model.task = "embedding";
  } else {
    model.task = add_head(a, family, *head, hidden, options);
  }
  if (Status s = a.weights.check(); !s.ok()) return s.with_context(encoder_folder + "/" + weights_file);
  TENON_ASSIGN(model.graph, network::snapshot(a.net));

  const std::string& name = a.config.architecture.empty() ? a.config.model_type : a.config.architecture;
  model.source = fmt::format("{} ({}, {})", folder, name, weights_file);
  describe(model, a, family, *head);
  if (of_images) {
    TENON_ASSIGN(auto properties, read_image_processor(encoder_folder));
    model.properties.merge(properties);
  }
  if (modules.max_tokens > 0) model.properties["max_seq_length"] = std::to_string(modules.max_tokens);
  if (!modules.similarity.empty()) model.properties["similarity"] = modules.similarity;
  return model;
}

}  // namespace

Result<bool> is_checkpoint(const std::string& folder) {
  std::error_code failed;
  if (!fs::is_directory(folder, failed)) return error(ErrorCode::kNotFound, "{}: no such folder", folder);
  if (is_sentence_transformer(folder)) return true;
  return fs::is_regular_file(fs::path(folder) / "config.json", failed) && !find_weights(folder).empty();
}

Result<ir::Model> import_folder(const std::string& folder, const ImportOptions& options) {
  std::error_code failed;
  if (!fs::is_directory(folder, failed)) return error(ErrorCode::kNotFound, "{}: no such folder", folder);
  try {
    return import_checkpoint(folder, options);
  } catch (const Error& e) {
    // The Network API speaks of wrong calls; here a wrong call means that the checkpoint's sizes contradict each other.
    const ErrorCode code = e.code() == ErrorCode::kInvalidArgument ? ErrorCode::kBadModel : e.code();
    return Status(code, folder + ": " + e.what());
  }
}

}  // namespace tenon::hf
