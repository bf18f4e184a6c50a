// What a user of the installed package writes: build an engine, embed a sentence.
#include <tenon/builder.h>
#include <tenon/text_model.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  tenon::Builder().build(argv[1], argv[2]);
  tenon::TextModel model(argv[2]);
  const auto vectors = model.embed({"a b"});
  std::printf("%zu values\n", vectors[0].size());
  return vectors[0].empty() ? 1 : 0;
}
