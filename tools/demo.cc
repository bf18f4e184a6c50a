// A semantic search over a few dozen sentences: the smallest program that does something real.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "builder/builder.h"
#include "engine/reader.h"
#include "tenon/text_model.h"
#include "tools/graph_stats.h"
#include "tools/report.h"
#include "tools/verbs.h"

namespace tenon::tools {
namespace {

const std::vector<std::string> kSentences = {
    "The mitochondrion produces most of the energy that a cell uses.",
    "Plants turn sunlight, water and carbon dioxide into sugar.",
    "A heart pumps about five litres of blood a minute.",
    "Vaccines train the immune system to recognise a pathogen.",
    "The French Revolution began with the storming of the Bastille.",
    "The Roman Empire in the west fell in the fifth century.",
    "Ada Lovelace wrote notes on the Analytical Engine.",
    "The printing press made books cheap in Europe.",
    "Water boils at a lower temperature on a mountain.",
    "Sound travels faster through steel than through air.",
    "Light from the Sun needs about eight minutes to reach us.",
    "A black hole bends light that passes near it.",
    "Tides follow the gravity of the Moon.",
    "Glaciers carve valleys in the shape of a U.",
    "Earthquakes happen where plates of the crust slip.",
    "Bread rises because yeast makes gas.",
    "Simmer the onions in butter until they are golden.",
    "A pinch of salt brings out the sweetness of chocolate.",
    "Store the leftovers in the refrigerator within two hours.",
    "The recipe asks for three eggs and a cup of flour.",
    "He missed the last train and had to walk home.",
    "The flight to Lisbon was delayed by fog.",
    "You can rent a bicycle at the station.",
    "The museum is closed on Mondays.",
    "A queue serves the request that has waited longest.",
    "Binary search halves the interval at every step.",
    "A compiler translates a program into machine code.",
    "The cache keeps what was read a moment ago.",
    "Encrypt your backups and keep the key somewhere else.",
    "The stock market fell after the interest rate went up.",
    "She paid back the loan five years early.",
    "Inflation makes the same money buy less.",
    "The home team scored in the last minute.",
    "Stretch after running to keep your muscles flexible.",
    "The orchestra tuned before the conductor arrived.",
    "This film is far too long and its ending is dull.",
    "A cat sleeps more than half of the day.",
    "Puppies need to be fed several times a day.",
};

const std::vector<std::string> kQuestions = {"How do plants make their food?", "Why is it hotter to cook high up in the hills?", "find an item in a sorted list",
                                             "my money is worth less than last year"};

double median_seconds(TextModel& model, int runs) {
  std::vector<double> seconds;
  for (int i = 0; i < runs + 1; ++i) {
    const double start = seconds_now();
    (void)model.embed(kSentences);
    if (i > 0) seconds.push_back(seconds_now() - start);
  }
  std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
  return seconds[static_cast<size_t>(runs / 2)];
}

double similarity(const std::vector<float>& a, const std::vector<float>& b) {
  double dot = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    dot += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return dot / std::max(1e-30, std::sqrt(aa * bb));
}

std::string temporary(const char* name) { return (std::filesystem::temp_directory_path() / fmt::format("tenon-demo-{}-{}", getpid(), name)).string(); }

}  // namespace

int demo(const DemoArgs& args) {
  Progress progress(args.quiet || args.json);
  BuilderConfig config;
  config.on_progress = [&](std::string_view phase, double fraction) { progress.show(phase, fraction); };
  const std::string engine = args.engine.empty() ? temporary("fused.tenon") : args.engine;
  const BuildReport report = value_or_throw(builder::build(args.model, engine, config));
  BuilderConfig plain_config;
  plain_config.optimize = false;
  const std::string plain = temporary("unfused.tenon");
  const BuildReport unfused = value_or_throw(builder::build(args.model, plain, plain_config));
  fmt::print("Built {} in {:.2f} s: {} of weights; {} nodes became {} steps.\n\n", report.engine, report.seconds, human_bytes(report.weight_bytes), report.nodes_imported,
             report.steps);

  TextModel model(engine, {}, {.threads = args.threads});
  const auto library = model.embed(kSentences);
  for (const std::string& question : args.texts.empty() ? kQuestions : args.texts) {
    const auto query = model.embed({question})[0];
    std::vector<size_t> order(library.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return similarity(query, library[a]) > similarity(query, library[b]); });
    fmt::print("{}\n", question);
    for (size_t i = 0; i < 3; ++i) fmt::print("  {:.3f}  {}\n", similarity(query, library[order[i]]), kSentences[order[i]]);
  }

  const double fused_seconds = median_seconds(model, 9);
  TextModel reference(plain, {}, {.threads = args.threads});
  const double plain_seconds = median_seconds(reference, 1);
  fmt::print("\n{} sentences: {:.1f} ms fused and packed ({} steps), {:.0f} ms as imported on the reference loops ({} steps).\n", kSentences.size(), 1e3 * fused_seconds,
             report.steps, 1e3 * plain_seconds, unfused.steps);
  std::error_code ignored;
  std::filesystem::remove(plain, ignored);
  if (args.engine.empty()) std::filesystem::remove(engine, ignored);
  return kSuccess;
}

}  // namespace tenon::tools
