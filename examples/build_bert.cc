// Builds a BERT by Network calls, with random weights, and prints it:
//
//   build_bert [LAYERS]
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "bert_network.h"

int main(int argc, char** argv) {
  try {
    bert::Config config;
    if (argc > 1) config.layers = std::atoll(argv[1]);
    const bert::WeightsDict weights = bert::random_weights(config);
    const tenon::Network net = bert::build(config, weights);
    std::fputs(net.to_text().c_str(), stdout);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "build_bert: %s\n", e.what());
    return 1;
  }
}
