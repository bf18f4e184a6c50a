#include <fmt/core.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "runtime/executable.h"
#include "tenon/text_model.h"
#include "tools/report.h"
#include "tools/tensor_io.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> read_lines(const std::string& path) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) throw Error(ErrorCode::kNotFound, path + ": cannot be read");
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    // A JSON string may hold line breaks.
    const auto json = line.starts_with('"') ? nlohmann::json::parse(line, nullptr, false) : nlohmann::json();
    lines.push_back(json.is_string() ? json.get<std::string>() : line);
  }
  if (lines.empty()) throw Error(ErrorCode::kInvalidArgument, (path == "-" ? "standard input" : path) + ": no line there");
  return lines;
}

int run_tensors(const RunArgs& args) {
  const Engine engine = Engine::load(args.engine, {.threads = args.threads, .target = args.target});
  ContextOptions options;
  options.strict = args.strict;
  ExecutionContext context = engine.create_execution_context(options);
  const NamedTensors inputs = value_or_throw(load_tensors(args.inputs));
  for (const auto& [name, tensor] : inputs) {
    const std::string target = name.empty() && engine.inputs().size() == 1 ? engine.inputs()[0].name : name;
    context.set_input(target, {tensor.dtype(), tensor.shape(), const_cast<std::byte*>(tensor.data())});
  }
  context.execute();
  NamedTensors outputs;
  for (const TensorInfo& info : engine.outputs()) {
    const TensorView view = context.output(info.name);
    outputs.emplace_back(info.name, ir::Tensor(view.dtype, view.shape, nullptr, static_cast<const std::byte*>(view.data)));
  }
  if (!args.out.empty()) {
    throw_if_error(save_tensors(args.out, outputs));
    return kSuccess;
  }
  Json json;
  for (const auto& [name, tensor] : outputs) {
    std::vector<double> values;
    for (int64_t i = 0; i < (args.json ? tensor.numel() : std::min<int64_t>(8, tensor.numel())); ++i) values.push_back(tensor.at(i));
    if (args.json) {
      json[name] = {{"dtype", dtype_name(tensor.dtype())}, {"shape", tensor.shape()}, {"data", values}};
    } else {
      fmt::print("{}: {} {}", name, dtype_name(tensor.dtype()), join(tensor.shape()));
      for (double v : values) fmt::print("  {:.6g}", v);
      fmt::print("{}\n", tensor.numel() > 8 ? "  …" : "");
    }
  }
  if (args.json) std::puts(json.dump().c_str());
  return kSuccess;
}

Json to_json(const std::vector<LabelScore>& scores) {
  Json list = Json::array();
  for (const LabelScore& s : scores) list.push_back({{"label", s.label}, {"probability", s.probability}});
  return list;
}

Json to_json(const TextSpan& span) { return {{"text", span.text}, {"begin", span.begin}, {"end", span.end}, {"score", span.score}}; }

// Prints one answer per text, or collects them as JSON.
class Printer {
 public:
  Printer(const RunArgs& args, const std::vector<std::string>& texts) : args_(args), texts_(texts) {}
  ~Printer() {
    if (args_.json) std::puts(list_.dump(2).c_str());
  }
  void add(size_t i, Json json, const std::string& line) {
    if (args_.json) {
      json["text"] = texts_[i];
      list_.push_back(std::move(json));
    } else {
      fmt::print("{}\n  {}\n", texts_[i], line);
    }
  }

 private:
  const RunArgs& args_;
  const std::vector<std::string>& texts_;
  Json list_ = Json::array();
};

std::string percent(const std::vector<LabelScore>& scores, int top) {
  std::string line;
  for (int i = 0; i < std::min(top, static_cast<int>(scores.size())); ++i) {
    const LabelScore& s = scores[static_cast<size_t>(i)];
    line += fmt::format("{}{} {:.1f} %", i ? ", " : "", s.label, 100 * s.probability);
  }
  return line;
}

void save_rows(const std::string& path, const std::vector<std::vector<RawOutput>>& results) {
  NamedTensors tensors;
  for (size_t i = 0; i < results.size(); ++i) {
    for (const RawOutput& out : results[i]) {
      const std::string name = results.size() == 1 ? out.name : fmt::format("{}/{}", i, out.name);
      tensors.emplace_back(name, ir::Tensor::from(DType::kF32, out.shape, out.values));
    }
  }
  throw_if_error(save_tensors(path, tensors));
}

void print_vectors(const RunArgs& args, const std::vector<std::string>& texts, const std::vector<std::vector<float>>& vectors) {
  if (!args.out.empty()) {
    std::vector<float> flat;
    for (const auto& v : vectors) flat.insert(flat.end(), v.begin(), v.end());
    const std::vector<int64_t> shape{static_cast<int64_t>(vectors.size()), vectors.empty() ? 0 : static_cast<int64_t>(vectors[0].size())};
    throw_if_error(save_tensors(args.out, {{"embeddings", ir::Tensor::from(DType::kF32, shape, flat)}}));
    return;
  }
  Printer printer(args, texts);
  for (size_t i = 0; i < texts.size(); ++i) {
    std::string line = fmt::format("{} values:", vectors[i].size());
    for (size_t k = 0; k < std::min<size_t>(6, vectors[i].size()); ++k) line += fmt::format(" {:.4f}", vectors[i][k]);
    printer.add(i, {{"embedding", vectors[i]}}, line + " …");
  }
}

int run_texts(const RunArgs& args, const std::vector<std::string>& texts, const std::vector<std::string>& pairs) {
  TextOptions options;
  options.max_length = args.max_length;
  options.strict = args.strict;
  TextModel model(args.engine, options, {.threads = args.threads, .target = args.target});
  const std::string& task = model.task();
  if (args.raw || (!args.out.empty() && task != "embedding" && task != "encoder")) {
    const auto results = model.run(texts, pairs);
    if (!args.out.empty()) {
      save_rows(args.out, results);
      return kSuccess;
    }
    Printer printer(args, texts);
    for (size_t i = 0; i < texts.size(); ++i) {
      Json json;
      std::string line;
      for (const RawOutput& out : results[i]) {
        json[out.name] = {{"shape", out.shape}, {"data", out.values}};
        line += fmt::format("{} {}  ", out.name, join(out.shape));
      }
      printer.add(i, std::move(json), line);
    }
  } else if (!args.question.empty() || task == "question-answering") {
    if (args.context.empty() && pairs.empty()) throw Error(ErrorCode::kInvalidArgument, "question answering needs --question and --context");
    AnswerOptions answer_options;
    answer_options.stride = args.stride;
    answer_options.truncate = args.first_window;
    const std::vector<std::string> questions = args.question.empty() ? texts : std::vector<std::string>{args.question};
    const auto answers = model.answer(questions, args.context.empty() ? pairs : std::vector<std::string>(questions.size(), args.context), answer_options);
    Printer printer(args, questions);
    for (size_t i = 0; i < questions.size(); ++i)
      printer.add(i, {{"answer", to_json(answers[i])}}, fmt::format("{}   [{}, {})  score {:.2f}", answers[i].text, answers[i].begin, answers[i].end, answers[i].score));
  } else if (task == "sequence-classification") {
    const auto results = model.classify(texts, pairs);
    Printer printer(args, texts);
    for (size_t i = 0; i < texts.size(); ++i) printer.add(i, {{"labels", to_json(results[i])}}, percent(results[i], args.top));
  } else if (task == "token-classification") {
    const auto results = model.entities(texts);
    Printer printer(args, texts);
    for (size_t i = 0; i < texts.size(); ++i) {
      Json list = Json::array();
      std::string line;
      for (const Entity& e : results[i]) {
        list.push_back({{"label", e.label}, {"span", to_json(e.span)}});
        line += fmt::format("{} ({} {:.1f} %)  ", e.span.text, e.label, 100 * e.span.score);
      }
      printer.add(i, {{"entities", list}}, line.empty() ? "no entities" : line);
    }
  } else if (task == "fill-mask" || task == "pretraining") {
    const auto results = model.fill_masks(texts, args.top);
    Printer printer(args, texts);
    for (size_t i = 0; i < texts.size(); ++i) {
      Json list = Json::array();
      std::string line;
      for (const MaskedWord& m : results[i]) {
        list.push_back({{"token", m.token}, {"candidates", to_json(m.candidates)}});
        line += percent(m.candidates, args.top) + "   ";
      }
      printer.add(i, {{"masks", list}}, line);
    }
  } else {
    print_vectors(args, texts, model.embed(texts));
  }
  return kSuccess;
}

}  // namespace

int run(const RunArgs& args) {
  std::vector<std::string> texts = args.texts;
  if (!args.texts_file.empty()) {
    const auto lines = read_lines(args.texts_file);
    texts.insert(texts.end(), lines.begin(), lines.end());
  }
  std::vector<std::string> pairs = args.pair;
  if (!args.pairs_file.empty()) {
    const auto lines = read_lines(args.pairs_file);
    pairs.insert(pairs.end(), lines.begin(), lines.end());
  }
  const bool has_texts = !texts.empty() || !args.question.empty();
  if (int{has_texts} + int{!args.inputs.empty()} + int{!args.images.empty()} != 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "give texts (--text, --texts, --question), images (--image) or tensors (--inputs); see tenon run --help");
  }
  if (!args.images.empty()) return run_images(args);
  return has_texts ? run_texts(args, texts, pairs) : run_tensors(args);
}

}  // namespace tenon::tools
