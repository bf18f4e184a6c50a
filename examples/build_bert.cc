// A BERT-base with random weights, made by Network calls and compiled into an engine:
//
//   build_bert bert_base.tenon [LAYERS]
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "bert_network.h"
#include "tenon/builder.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: build_bert ENGINE [LAYERS]\n");
    return 2;
  }
  try {
    bert::Config shape;
    if (argc > 2) shape.layers = std::atoll(argv[2]);
    const bert::WeightsDict weights = bert::random_weights(shape);
    const tenon::Network net = bert::build(shape, weights);
    const tenon::BuildReport report = tenon::Builder().build(net, argv[1]);
    std::printf("%s: %d steps, %.1f MiB, built in %.1f s\n", argv[1], report.steps,
                static_cast<double>(report.file_bytes) / 0x1p20, report.seconds);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "build_bert: %s\n", e.what());
    return 1;
  }
}
