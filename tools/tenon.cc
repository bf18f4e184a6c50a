// The command line of Tenon: options of every verb, and nothing else.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <new>

#include "ops/plugin_host.h"
#include "tenon/error.h"
#include "tools/verbs.h"

namespace {

using namespace tenon::tools;

int exit_code_of(tenon::ErrorCode code) {
  using tenon::ErrorCode;
  switch (code) {
    case ErrorCode::kOk: return kSuccess;
    case ErrorCode::kInvalidArgument: return kUsage;
    case ErrorCode::kBadModel:
    case ErrorCode::kUnsupported: return kModelError;
    case ErrorCode::kBadEngine:
    case ErrorCode::kEngineVersion: return kEngineError;
    case ErrorCode::kBadInput: return kInputError;
    case ErrorCode::kNotFound:
    case ErrorCode::kIo:
    case ErrorCode::kNoDevice:
    case ErrorCode::kPlugin:
    case ErrorCode::kOutOfMemory: return kSystemError;
    case ErrorCode::kInternal: break;
  }
  return kInternalError;
}

void add_common(CLI::App* verb, CommonArgs& args) {
  verb->add_flag("--json", args.json, "print the result as JSON on standard output");
  verb->add_flag("-q,--quiet", args.quiet, "no progress on standard error");
  verb->add_option("--plugins", args.plugins, "library of operators of your own (may repeat); docs/plugins.md");
  verb->add_option("--threads", args.threads, "threads to use; 0: all that the process may use")->check(CLI::NonNegativeNumber);
}

// For engines of several targets.
void add_target(CLI::App* verb, std::string& target) {
  verb->add_option("--target", target, "run the engine's code for this target: auto, cuda, cpu, sm_90 …");
}
void add_shown_target(CLI::App* verb, std::string& target) {
  verb->add_option("--target", target, "engines of several targets: the one to show; default: the first");
}

void add_build(CLI::App& app, BuildArgs& a) {
  CLI::App* verb = app.add_subcommand("build", "Compile a model into one engine file.\n\n"
                                               "  tenon build model.onnx -o model.tenon\n"
                                               "  tenon build checkpoint_folder -o model.tenon\n"
                                               "  tenon build model.onnx -o model.tenon --min-shapes input_ids:1x8,attention_mask:1x8 \\\n"
                                               "      --opt-shapes input_ids:8x128,attention_mask:8x128 --max-shapes input_ids:32x512,attention_mask:32x512\n\n"
                                               "A tokenizer beside the model goes into the engine, so that it answers from text.");
  verb->add_option("model", a.model, "ONNX file, Hugging Face checkpoint or sentence-transformers folder")->required();
  verb->add_option("-o,--output", a.output, "engine file to write")->required();
  verb->add_option("--target", a.target, "cpu; cuda: this machine's GPU; sm_90 …: a kind of GPU, which need not be here; auto.\n"
                                         "Several, as in sm_90,sm_80,cpu, share one engine; each machine runs what suits it best");
  CLI::Option* fp16 = verb->add_flag("--fp16", a.fp16, "compute in 16-bit floats (GPU)");
  CLI::Option* bf16 = verb->add_flag("--bf16", a.bf16, "compute in bfloat16; on a CPU: matrix products only")->excludes(fp16);
  CLI::Option* int8 = verb->add_flag("--int8", a.int8, "8-bit matrix products, scales of rows found when run (CPU)")->excludes(fp16)->excludes(bf16);
  CLI::Option* tf32 = verb->add_flag("--tf32", a.tf32, "32-bit floats whose matrix products the tensor cores round to tf32 (GPU)")->excludes(fp16)->excludes(bf16)->excludes(int8);
  CLI::Option* best = verb->add_flag("--best", a.best, "GPU: fp16; CPU: bf16 where this processor multiplies bf16")->excludes(fp16)->excludes(bf16)->excludes(int8);
  verb->add_flag("--fp32", a.fp32, "compute in 32-bit floats, whatever the model has. Without one of these the model's own: on CPUs 8 bits for\n"
                                   "the products of a dynamically quantised model, on GPUs the 16-bit floats that its products are of, else fp32")
      ->excludes(fp16)->excludes(bf16)->excludes(int8)->excludes(tf32)->excludes(best);
  verb->add_flag("--tune", a.tune, "time the kernels' configs on this GPU or CPU (seconds) and take the fastest; default: Tenon's own table");
  verb->add_option("--tactics", a.tactics, "libraries of others whose kernels race too where --tune times (GPU): cublaslt, for linears; cudnn, for convolutions.\n"
                                           "An engine that has such kernels needs the library")->delimiter(',');
  verb->add_option("--timing-cache", a.timing_cache, "file of timings: read if it is there, with --tune written back; default with\n"
                                                     "--tune: timings.jsonl in the cache folder");
  verb->add_option("--workspace-limit", a.workspace_limit, "bytes of scratch that a kernel may need to be taken (K, M, G)")->transform(CLI::AsSizeValue(false));
  verb->add_option("--min-shapes", a.min_shapes, "least sizes per input, name:AxB[,name:AxB]")->delimiter(',');
  verb->add_option("--opt-shapes", a.opt_shapes, "usual sizes per input")->delimiter(',');
  verb->add_option("--max-shapes", a.max_shapes, "largest sizes per input")->delimiter(',');
  verb->add_option("--fp32-layers", a.fp32_layers, "nodes of the model, by names with *, whose products stay in fp32 beside --bf16, --int8 or a quantised model's own 8 bits (CPU)")->delimiter(',');
  verb->add_option("--input-types", a.input_types, "types of the inputs in the engine, one for each or one for all: int32, fp16 …")->delimiter(',');
  verb->add_option("--output-types", a.output_types, "the same of the outputs")->delimiter(',');
  verb->add_option("--tokenizer", a.tokenizer, "folder with tokenizer.json or vocab.txt; default: the model's own");
  verb->add_option("--task", a.task, "what the outputs mean, where the model does not say: embedding, sequence-classification, "
                                     "token-classification, question-answering, fill-mask");
  verb->add_flag("--all-positions", a.all_positions, "masked-word checkpoints: logits for every position instead of asked ones");
  verb->add_option("--dump-passes", a.dump_passes, "folder for the graph after each pass that changed it");
  verb->add_option("--disable-pass", a.disabled_passes, "leave a pass, or a pattern, out (may repeat)");
  verb->add_option("--patterns", a.patterns, "file of fusions of your own (may repeat); docs/patterns.md");
  verb->add_flag("--no-optimize", a.no_optimize, "the graph as imported, on the reference kernels");
  add_common(verb, a);
}

void add_tune(CLI::App& app, TuneArgs& a) {
  CLI::App* verb = app.add_subcommand("tune", "Time the configs of a model's kernels on this GPU or CPU; print candidates, times and winners.\n\n"
                                              "  tenon tune model.onnx --fp16\n"
                                              "  tenon tune model.onnx --target cpu --int8\n"
                                              "  tenon tune model.onnx --fp16 --kernel 'cuda.linear.*' --only 'tile=128x*' --again\n"
                                              "  tenon tune model.onnx --fp16 --timing-cache mine.jsonl\n"
                                              "  tenon build model.onnx -o m.tenon --target cuda --fp16 --timing-cache mine.jsonl\n\n"
                                              "The file has one line for each problem and size. Builds take the \"config\" of a line: write another there\n"
                                              "to overrule the measurement. Files of several machines may be joined with cat.");
  verb->add_option("model", a.model, "ONNX file, Hugging Face checkpoint or sentence-transformers folder")->required();
  verb->add_option("--target", a.target, "cuda: this machine's GPU; cpu");
  CLI::Option* fp16 = verb->add_flag("--fp16", a.fp16, "compute in 16-bit floats");
  CLI::Option* bf16 = verb->add_flag("--bf16", a.bf16, "compute in bfloat16")->excludes(fp16);
  CLI::Option* int8 = verb->add_flag("--int8", a.int8, "8-bit matrix products (CPU)")->excludes(fp16)->excludes(bf16);
  CLI::Option* tf32 = verb->add_flag("--tf32", a.tf32, "32-bit floats, matrix products in tf32 (GPU)")->excludes(fp16)->excludes(bf16)->excludes(int8);
  verb->add_flag("--fp32", a.fp32, "compute in 32-bit floats; default: the model's own, as `tenon build` has it")->excludes(fp16)->excludes(bf16)->excludes(int8)->excludes(tf32);
  verb->add_option("--tactics", a.tactics, "libraries of others whose kernels race too (GPU): cublaslt, for linears; cudnn, for convolutions")->delimiter(',');
  verb->add_option("--timing-cache", a.timing_cache, "file of timings: what it knows is not timed again, what is new is added; default:\n"
                                                     "timings.jsonl in the cache folder");
  verb->add_option("--kernel", a.kernels, "only kernels of this name; * stands for any letters");
  verb->add_option("--only", a.only, "only configs of this name (may repeat); * stands for any letters");
  verb->add_option("--candidates", a.candidates, "how many configs race for each size, by rising estimate; 0: all")->check(CLI::NonNegativeNumber);
  verb->add_option("--sustained", a.sustained, "seconds that each timing of a large problem lasts: with 0.02 the GPU's power limit is in force, as under load")
      ->check(CLI::NonNegativeNumber);
  verb->add_flag("--again", a.again, "also time what the file knows");
  verb->add_option("--max-shapes", a.max_shapes, "largest sizes per input, name:AxB[,name:AxB]: no more tokens are timed than these hold")->delimiter(',');
  verb->add_option("--workspace-limit", a.workspace_limit, "bytes of scratch that a config may need (K, M, G)")->transform(CLI::AsSizeValue(false));
  verb->add_option("--disable-pass", a.disabled_passes, "leave a pass out (may repeat)");
  add_common(verb, a);
}

void add_run(CLI::App& app, RunArgs& a) {
  CLI::App* verb = app.add_subcommand("run", "Run an engine on texts, images or tensors.\n\n"
                                             "  tenon run model.tenon --text \"a fine film\"\n"
                                             "  tenon run qa.tenon --question \"Who?\" --context \"Ada wrote it.\"\n"
                                             "  tenon run model.tenon --texts lines.txt --out vectors.npz\n"
                                             "  tenon run resnet.tenon --image cat.jpg dog.png --labels imagenet.txt\n"
                                             "  tenon run model.tenon --inputs inputs.npz --out outputs.npz\n\n"
                                             "Images (JPEG, PNG) are resized, their centre is cut out and normalised as ImageNet models want it, unless the\n"
                                             "model's checkpoint or the options below say otherwise. An orientation that a camera noted is not applied.\n\n"
                                             "Engines with a task answer in its terms: labels with probabilities, the answer's span, candidates for\n"
                                             "[MASK], entities, embeddings. --raw gives the output tensors instead.");
  verb->add_option("engine", a.engine, "engine file")->required();
  add_target(verb, a.target);
  verb->add_option("--text", a.texts, "a text (may repeat)");
  verb->add_option("--pair", a.pair, "the second text of each --text, for pairs");
  verb->add_option("--texts", a.texts_file, "file with one text, or one JSON string, a line; - for standard input");
  verb->add_option("--pairs", a.pairs_file, "file with the second texts, as --texts; question answering: --texts are questions, --pairs contexts");
  verb->add_option("--question", a.question, "question answering: the question");
  verb->add_option("--context", a.context, "question answering: the text to search");
  verb->add_option("--image", a.images, "JPEG or PNG files");
  verb->add_option("--labels", a.labels, "images: names of the classes, one a line, or JSON (a list, or {\"0\": name, …}); default: the checkpoint's");
  verb->add_option("--image-size", a.image_size, "images: side for models that take any; default 224")->check(CLI::Range(1, 16384));
  verb->add_option("--resize", a.resize, "images: length of the short side before the centre is cut out; default: 8/7 of the model's")->check(CLI::Range(1, 16384));
  verb->add_flag("--stretch", a.stretch, "images: resize to the model's size without cutting");
  verb->add_option("--interpolation", a.interpolation, "images: bilinear or bicubic")->check(CLI::IsMember({"bilinear", "bicubic"}));
  verb->add_option("--mean", a.mean, "images: per channel, of pixels in [0, 1]; default 0.485,0.456,0.406")->delimiter(',')->expected(3);
  verb->add_option("--std", a.std, "images: likewise; default 0.229,0.224,0.225")->delimiter(',')->expected(3);
  verb->add_option("--batch", a.batch, "images: how many are run at once")->check(CLI::Range(1, 4096));
  verb->add_option("--inputs", a.inputs, "tensors: .npz, .json ({\"name\": nested lists}) or .npy (engines of one input)");
  verb->add_option("--out", a.out, "write outputs to .npz, .json or .npy instead of printing them");
  verb->add_option("--top", a.top, "candidates to show")->check(CLI::PositiveNumber);
  verb->add_option("--max-length", a.max_length, "cut texts to this many tokens; 0: the model's limit")->check(CLI::NonNegativeNumber);
  verb->add_option("--stride", a.stride, "question answering: tokens that windows of a long context share")->check(CLI::NonNegativeNumber);
  verb->add_flag("--first-window", a.first_window, "question answering: cut long contexts instead of reading them in windows");
  verb->add_flag("--strict", a.strict, "refuse to run when an optional input (mask, token types) is left out");
  verb->add_flag("--raw", a.raw, "output tensors, not answers");
  add_common(verb, a);
}

void add_bench(CLI::App& app, BenchArgs& a) {
  CLI::App* verb = app.add_subcommand("bench", "Measure throughput, latency and memory on random tokens of real lengths.\n\n"
                                               "  tenon bench model.tenon --batch 1,8 --seq 16,128\n"
                                               "  tenon bench model.tenon --batch 32 --lengths texts.txt\n"
                                               "  tenon bench model.tenon --batch 32 --lengths uniform:8-128\n"
                                               "  tenon bench model.tenon --batch-tokens 4096,16384 --lengths texts.txt");
  verb->add_option("engine", a.engine, "engine file")->required();
  add_target(verb, a.target);
  CLI::Option* batch = verb->add_option("--batch", a.batch, "batch sizes, comma separated")->delimiter(',')->check(CLI::PositiveNumber);
  verb->add_option("--batch-tokens", a.batch_tokens, "instead of --batch: as many rows, in their order, as fit into so many tokens")
      ->delimiter(',')->check(CLI::PositiveNumber)->excludes(batch);
  verb->add_option("--seq", a.seq, "sequence lengths, comma separated; every batch size is run with every length")->delimiter(',')->check(CLI::PositiveNumber);
  verb->add_option("--lengths", a.lengths, "row lengths instead of --seq: a file of texts (through the engine's tokenizer), uniform:LOW-HIGH, normal:MEAN,STD, or list:FILE of numbers");
  verb->add_option("--iterations", a.iterations, "runs per point; 0: as many as fit --duration")->check(CLI::NonNegativeNumber);
  verb->add_option("--duration", a.duration, "seconds per point")->check(CLI::PositiveNumber);
  verb->add_option("--warmup", a.warmup, "runs before the first that counts")->check(CLI::NonNegativeNumber);
  verb->add_option("--streams", a.streams, "so many runs at once, each in a context of its own: one batch is prepared while another is computed")->check(CLI::PositiveNumber);
  verb->add_option("--seed", a.seed, "of the random tokens");
  verb->add_flag("--profile", a.profile, "also where the time goes: shares of GEMM, attention, norm …, the slowest steps in which precision, what binds them and what would help");
  verb->add_option("--profile-html", a.profile_html, "the same as one HTML page that needs nothing else, with every step");
  verb->add_option("--without-passes", a.passes_of, "with --profile: the model that the engine was built from, to time it without each pass in turn");
  verb->add_option("--warm", a.warm, "what contexts run before the first batch, on a GPU: none; opt, the profile's usual sizes; all, every bucket of token counts too")
      ->check(CLI::IsMember({"none", "opt", "all"}));
  verb->add_flag("--inputs-on-device", a.inputs_on_device, "inputs are in the GPU's memory before the clock runs");
  verb->add_flag("--outputs-on-device", a.outputs_on_device, "leave results in the GPU's memory, as a caller who goes on there would");
  add_common(verb, a);
}

void add_optimize(CLI::App& app, OptimizeArgs& a) {
  CLI::App* verb = app.add_subcommand("optimize", "Write the fused graph as an ONNX file, for other runtimes and for Netron.\n\n"
                                                  "  tenon optimize model.onnx -o fused.onnx                standard operators, opset 20\n"
                                                  "  tenon optimize model.onnx -o fused.onnx --microsoft    ONNX Runtime's fused attention, norms and GELUs\n"
                                                  "  tenon optimize checkpoint/ -o model.onnx               a checkpoint, without PyTorch");
  verb->add_option("model", a.model, "ONNX file, Hugging Face checkpoint or sentence-transformers folder")->required();
  verb->add_option("-o,--out", a.out, "ONNX file to write; weights beyond 1.5 GiB go to a file beside it")->required();
  verb->add_flag("--fp16", a.fp16, "weights and arithmetic in 16-bit floats; inputs and outputs stay as they are");
  verb->add_flag("--microsoft", a.microsoft, "operators of com.microsoft where they fit");
  verb->add_option("--disable-pass", a.disabled_passes, "leave a pass out (may repeat)");
  add_common(verb, a);
}

void add_others(CLI::App& app, InspectArgs& inspect_args, ExplainArgs& explain_args, VerifyArgs& verify_args, DemoArgs& demo_args) {
  CLI::App* verb = app.add_subcommand("inspect", "Show what is in an engine, an ONNX file or a checkpoint.\n\n"
                                                 "  tenon inspect model.onnx          can it be built? operators, parameters, FLOPs\n"
                                                 "  tenon inspect model.tenon         steps, kernels, shapes, memory plan\n"
                                                 "  tenon inspect model.tenon --svg graph.svg");
  verb->add_option("path", inspect_args.path, "engine file, ONNX file or checkpoint folder")->required();
  add_shown_target(verb, inspect_args.target);
  verb->add_option("--svg", inspect_args.svg, "draw the graph before and after compilation");
  verb->add_flag("--graph", inspect_args.graph, "print the graph as text");
  add_common(verb, inspect_args);

  verb = app.add_subcommand("explain", "Say what was fused, what was not and why, and what it saves.\n\n  tenon explain model.tenon");
  verb->add_option("engine", explain_args.engine, "engine file")->required();
  add_shown_target(verb, explain_args.target);
  verb->add_option("--batch", explain_args.batch, "batch size that bytes are counted for")->check(CLI::PositiveNumber);
  verb->add_option("--seq", explain_args.seq, "length that bytes are counted for")->check(CLI::PositiveNumber);
  verb->add_flag("--all", explain_args.all, "every decision, also those about small operations");
  add_common(verb, explain_args);

  verb = app.add_subcommand("verify", "Compare an engine with its model, node by node, on the plain reference loops.\n\n"
                                      "  tenon verify model.tenon --model model.onnx\n"
                                      "  tenon verify model.tenon --model model.onnx --inputs in.npz --expected out.npz\n\n"
                                      "Prints the worst difference per layer and the first layer out of tolerance; exit code 1 if there is one.");
  verb->add_option("engine", verify_args.engine, "engine file")->required();
  add_target(verb, verify_args.target);
  verb->add_option("--model", verify_args.model, "what the engine was built from")->required();
  verb->add_option("--inputs", verify_args.inputs, "recorded inputs (.npz, .json); default: random tokens with padding");
  verb->add_option("--expected", verify_args.expected, "recorded outputs to compare with as well");
  verb->add_option("--tolerance", verify_args.tolerance, "largest difference allowed, relative to the layer's largest value; default: by precision, 1e-4 for fp32")->check(CLI::PositiveNumber);
  verb->add_option("--batch", verify_args.batch, "rows of random input")->check(CLI::PositiveNumber);
  verb->add_option("--seq", verify_args.seq, "length of random input")->check(CLI::PositiveNumber);
  verb->add_option("--seed", verify_args.seed, "of the random input");
  add_common(verb, verify_args);

  verb = app.add_subcommand("demo", "Build a sentence-embedding model and search a few dozen sentences with it.\n\n"
                                    "  ./run demo                        fetches the model first\n"
                                    "  tenon demo --model FOLDER --text \"how do plants make food?\"");
  verb->add_option("--model", demo_args.model, "checkpoint folder of a sentence-embedding model")->required();
  verb->add_option("--engine", demo_args.engine, "where to put the engine; default: a temporary file");
  verb->add_option("--text", demo_args.texts, "what to search for (may repeat); default: a few questions");
  add_common(verb, demo_args);
}

// Where CLI11 would only say that a subcommand is required.
bool names_a_verb(const CLI::App& app, const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0].starts_with('-')) return true;
  std::string verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!arguments.empty() && verb->get_name() == arguments[0]) return true;
    verbs += (verbs.empty() ? "" : ", ") + verb->get_name();
  }
  const std::string said = arguments.empty() ? "say what to do" : "there is no verb \"" + arguments[0] + "\"";
  std::fprintf(stderr, "tenon: %s: %s (tenon --help)\n", said.c_str(), verbs.c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  // trtexec's flags are no options of CLI11: they may have one dash, and letters of any case.
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  if (std::filesystem::path(argc > 0 ? argv[0] : "").filename() == "trtexec") return exec(arguments);
  if (!arguments.empty() && arguments[0] == "exec") return exec({arguments.begin() + 1, arguments.end()});
  CLI::App app{"Tenon compiles Transformer models into small engines and runs them.\n\n"
               "exit codes: 0 done, 1 a check failed, 2 usage, 3 model, 4 engine, 5 input, 6 system, 70 a bug in Tenon"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "tenon " TENON_VERSION);
  BuildArgs build_args;
  TuneArgs tune_args;
  RunArgs run_args;
  BenchArgs bench_args;
  InspectArgs inspect_args;
  OptimizeArgs optimize_args;
  ExplainArgs explain_args;
  VerifyArgs verify_args;
  DemoArgs demo_args;
  add_build(app, build_args);
  add_tune(app, tune_args);
  add_run(app, run_args);
  add_bench(app, bench_args);
  add_optimize(app, optimize_args);
  add_others(app, inspect_args, explain_args, verify_args, demo_args);
  app.add_subcommand("exec", "Take a command line of trtexec: tenon exec --onnx=model.onnx --saveEngine=model.engine (tenon exec --help)");
  if (!names_a_verb(app, arguments)) return kUsage;
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? kSuccess : kUsage;
  }
  const std::string verb = app.get_subcommands()[0]->get_name();
  try {
    const std::vector<const CommonArgs*> all = {&build_args, &tune_args, &run_args, &bench_args, &inspect_args, &optimize_args, &explain_args, &verify_args, &demo_args};
    for (const CommonArgs* args : all) tenon::throw_if_error(tenon::ops::load_plugin_libraries(args->plugins));
    if (verb == "build") return build(build_args);
    if (verb == "tune") return tune(tune_args);
    if (verb == "run") return run(run_args);
    if (verb == "bench") return bench(bench_args);
    if (verb == "optimize") return optimize(optimize_args);
    if (verb == "inspect") return inspect(inspect_args);
    if (verb == "explain") return explain(explain_args);
    if (verb == "verify") return verify(verify_args);
    return demo(demo_args);
  } catch (const tenon::Error& e) {
    std::fprintf(stderr, "tenon %s: %s\n  (%s: docs/errors.md)\n", verb.c_str(), e.what(), std::string(tenon::error_code_name(e.code())).c_str());
    return exit_code_of(e.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "tenon %s: out of memory\n", verb.c_str());
    return kSystemError;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "tenon %s: internal error: %s\n", verb.c_str(), e.what());
    return kInternalError;
  }
}
