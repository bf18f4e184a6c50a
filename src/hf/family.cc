#include "hf/family.h"

namespace tenon::hf {

const Family& find_family(std::string_view model_type) {
  if (model_type == "roberta" || model_type == "xlm-roberta" || model_type == "camembert") return kRoberta;
  for (const Family* family : {&kDistilBert, &kElectra, &kMpnet, &kAlbert, &kModernBert, &kDebertaV2, &kVit})
    if (family->name == model_type) return *family;
  return kBert;
}

Value classify_pooled(Assembler& a, Value hidden) {
  return a.linear(a.pooler(hidden), "classifier", static_cast<int64_t>(a.config.labels.size()));
}

Value classify_first_row(Assembler& a, Value hidden, Activation activation) {
  const Value dense = a.linear(a.net.select(hidden, 1, 0), "classifier.dense", a.config.hidden_size);
  return a.linear(a.net.activation(dense, activation), "classifier.out_proj",
                  static_cast<int64_t>(a.config.labels.size()));
}

Value predict_by_lm_head(Assembler& a, Value rows) {
  Value x = a.net.activation(a.linear(rows, "lm_head.dense", a.config.hidden_size), Activation::kGelu);
  x = a.layer_norm(x, "lm_head.layer_norm");
  return a.vocabulary(x, "lm_head.decoder", "lm_head.bias");
}

}  // namespace tenon::hf
