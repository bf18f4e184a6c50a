#include "text/tokenizer.h"

#include <algorithm>
#include <limits>

#include "base/thread_pool.h"
#include "text/scratch_pool.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_parts.h"
#include "text/truncation.h"
#include "text/unicode.h"

namespace tenon::text {
namespace {

// Offsets are 32-bit numbers, and repairing bytes that are not UTF-8 may triple them. The rest of a longer text is left
// out.
constexpr size_t kMaxTextBytes = size_t{1} << 29;

using Tokens = std::span<const Token>;

EncodeOptions checked(EncodeOptions options) {
  for (int* value : {&options.max_length, &options.stride, &options.pad_length, &options.pad_to_multiple}) {
    *value = std::max(*value, 0);
  }
  return options;
}

Tokens cut(Tokens tokens, size_t length, Side side) {
  return side == Side::kRight ? tokens.first(length) : tokens.last(length);
}

// Fills the vectors of an Encoding from its start to its end.
class Assembler {
 public:
  explicit Assembler(size_t size) {
    for (auto* v : {&out_.ids, &out_.type_ids, &out_.special_tokens_mask, &out_.word_ids, &out_.sequence_ids}) {
      v->resize(size);
    }
    out_.attention_mask.assign(size, 1);
    out_.offsets.resize(size);
    out_.byte_offsets.resize(size);
  }

  void add_special(int32_t id, int32_t type_id) {
    out_.ids[at_] = id;
    out_.type_ids[at_] = type_id;
    out_.special_tokens_mask[at_] = 1;
    out_.word_ids[at_] = out_.sequence_ids[at_] = -1;
    ++at_;
  }

  void add(Tokens tokens, int32_t type_id, int32_t sequence) {
    std::fill_n(out_.type_ids.data() + at_, tokens.size(), type_id);
    std::fill_n(out_.sequence_ids.data() + at_, tokens.size(), sequence);
    for (const Token& token : tokens) {
      out_.ids[at_] = token.id;
      out_.word_ids[at_] = token.word;
      out_.offsets[at_] = {token.begin, token.end};
      out_.byte_offsets[at_] = {token.byte_begin, token.byte_end};
      ++at_;
    }
  }

  Encoding take() { return std::move(out_); }

 private:
  Encoding out_;
  size_t at_ = 0;
};

template <class T>
void pad_vector(std::vector<T>& v, size_t count, T value, Side side) {
  v.insert(side == Side::kRight ? v.end() : v.begin(), count, value);
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(TokenizerParts p) : parts(std::move(p)) {
    pad = parts.token_to_id(parts.settings.pad_token);
    mask = parts.token_to_id(parts.settings.mask_token);
    cls = parts.token_to_id(parts.settings.cls_token);
    sep = parts.token_to_id(parts.settings.sep_token);
    unk = parts.token_to_id(parts.pipeline.model().unk_token());
  }

  void tokenize(std::string_view text, Pipeline::Scratch& scratch) const;
  Encoding encode(Tokens first, const Tokens* second, const EncodeOptions& options) const;
  Encoding assemble(Tokens first, const Tokens* second, bool add_special_tokens) const;
  std::vector<Encoding> windows(const Tokens* first, Tokens text, size_t room, size_t stride) const;
  size_t budget(int max_length, bool add_special_tokens, bool pair) const;
  void pad_rows(std::span<Encoding> rows, const EncodeOptions& options) const;
  void pad_row(Encoding& row, size_t length, Side side) const;

  TokenizerParts parts;
  int32_t pad, mask, cls, sep, unk;
  mutable ScratchPool scratches;
};

void Tokenizer::Impl::tokenize(std::string_view text, Pipeline::Scratch& scratch) const {
  text = text.substr(0, kMaxTextBytes);
  if (valid_utf8_prefix(text) == text.size()) return parts.pipeline.run(text, scratch);
  const RepairedText repaired(text);
  parts.pipeline.run(repaired.text(), scratch);
  for (Token& token : scratch.tokens) {
    token.byte_begin = repaired.original(token.byte_begin);
    token.byte_end = repaired.original(token.byte_end);
  }
}

Encoding Tokenizer::Impl::assemble(Tokens first, const Tokens* second, bool add_special_tokens) const {
  const bool pair = second != nullptr;
  const size_t special = add_special_tokens ? static_cast<size_t>(parts.post_processor.special_count(pair)) : 0;
  Assembler row(first.size() + (pair ? second->size() : 0) + special);
  for (const PostProcessor::Item& item : parts.post_processor.items(pair)) {
    switch (item.kind) {
      case PostProcessor::Item::kFirst:
        row.add(first, item.type_id, 0);
        break;
      case PostProcessor::Item::kSecond:
        row.add(*second, item.type_id, 1);
        break;
      case PostProcessor::Item::kSpecial:
        for (const int32_t id : item.ids) {
          if (add_special_tokens) row.add_special(id, item.type_id);
        }
        break;
    }
  }
  return row.take();
}

// How many tokens of the texts fit.
size_t Tokenizer::Impl::budget(int max_length, bool add_special_tokens, bool pair) const {
  if (max_length == 0) return std::numeric_limits<size_t>::max();
  const int special = add_special_tokens ? parts.post_processor.special_count(pair) : 0;
  return static_cast<size_t>(std::max(max_length - special, 0));
}

// The windows of `text`, each behind `first` where there is one.
std::vector<Encoding> Tokenizer::Impl::windows(const Tokens* first, Tokens text, size_t room, size_t stride) const {
  if (room == 0) {
    text = {};
    room = 1;
  }
  if (stride >= room) stride = room / 2;
  std::vector<Encoding> rows;
  for (const auto& [begin, end] : text::cover(text.size(), room, stride)) {
    const Tokens part = text.subspan(begin, end - begin);
    rows.push_back(first != nullptr ? assemble(*first, &part, true) : assemble(part, nullptr, true));
  }
  return rows;
}

Encoding Tokenizer::Impl::encode(Tokens first, const Tokens* second, const EncodeOptions& options) const {
  const bool pair = second != nullptr;
  const size_t room = budget(options.max_length, options.add_special_tokens, pair);
  const Lengths kept = truncate({first.size(), pair ? second->size() : 0}, room, options.truncation);
  first = cut(first, kept.first, options.truncation_side);
  if (!pair) return assemble(first, nullptr, options.add_special_tokens);
  const Tokens rest = cut(*second, kept.second, options.truncation_side);
  return assemble(first, &rest, options.add_special_tokens);
}

void Tokenizer::Impl::pad_row(Encoding& row, size_t length, Side side) const {
  if (row.size() >= length) return;
  const size_t count = length - row.size();
  pad_vector(row.ids, count, std::max(pad, 0), side);
  pad_vector(row.type_ids, count, parts.settings.pad_type_id, side);
  pad_vector(row.attention_mask, count, 0, side);
  pad_vector(row.special_tokens_mask, count, 1, side);
  pad_vector(row.word_ids, count, -1, side);
  pad_vector(row.sequence_ids, count, -1, side);
  pad_vector(row.offsets, count, {0, 0}, side);
  pad_vector(row.byte_offsets, count, {0, 0}, side);
}

void Tokenizer::Impl::pad_rows(std::span<Encoding> rows, const EncodeOptions& options) const {
  if (options.padding == Padding::kNone) return;
  auto length = static_cast<size_t>(options.pad_length);
  if (options.padding == Padding::kLongest) {
    length = 0;
    for (const Encoding& row : rows) length = std::max(length, row.size());
  }
  if (const auto multiple = static_cast<size_t>(options.pad_to_multiple); multiple > 0) {
    length = (length + multiple - 1) / multiple * multiple;
  }
  for (Encoding& row : rows) pad_row(row, length, options.padding_side);
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_parts(Result<TokenizerParts> parts) {
  if (!parts.ok()) return parts.status();
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::make_unique<const Impl>(std::move(parts).value())));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_folder(const std::string& dir) {
  return from_parts(parts_from_folder(dir));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_json(std::string_view text, const std::string& name) {
  return from_parts(parts_from_json(text, name));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_vocab(std::string_view text, const VocabSettings& settings,
                                                               const std::string& name) {
  return from_parts(parts_from_vocab(text, settings, {}, name));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::from_sentencepiece(std::string_view bytes,
                                                                       const std::string& name) {
  return from_parts(parts_from_sentencepiece(bytes, {}, name));
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::deserialize(std::string_view blob) {
  return from_json(blob, "tokenizer blob");
}

std::string Tokenizer::serialize() const { return parts_to_json(impl_->parts); }

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const EncodeOptions o = checked(options);
  ScratchPool::Loan loan = impl_->scratches.borrow();
  Pipeline::Scratch& scratch = *loan;
  impl_->tokenize(text, scratch);
  Encoding row = impl_->encode(scratch.tokens, nullptr, o);
  impl_->pad_rows({&row, 1}, o);
  return row;
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options) const {
  const EncodeOptions o = checked(options);
  ScratchPool::Loan loans[] = {impl_->scratches.borrow(), impl_->scratches.borrow()};
  Pipeline::Scratch &a = *loans[0], &b = *loans[1];
  impl_->tokenize(first, a);
  impl_->tokenize(second, b);
  const Tokens rest(b.tokens);
  Encoding row = impl_->encode(a.tokens, &rest, o);
  impl_->pad_rows({&row, 1}, o);
  return row;
}

std::vector<Encoding> Tokenizer::encode_batch(std::span<const std::string> texts, const EncodeOptions& options,
                                              ThreadPool* pool) const {
  return encode_rows(texts, {}, options, pool);
}

std::vector<Encoding> Tokenizer::encode_pair_batch(std::span<const std::string> firsts,
                                                   std::span<const std::string> seconds, const EncodeOptions& options,
                                                   ThreadPool* pool) const {
  const size_t count = std::min(firsts.size(), seconds.size());
  return encode_rows(firsts.first(count), seconds.first(count), options, pool);
}

std::vector<Encoding> Tokenizer::encode_rows(std::span<const std::string> firsts, std::span<const std::string> seconds,
                                             const EncodeOptions& options, ThreadPool* pool) const {
  const EncodeOptions o = checked(options);
  std::vector<Encoding> rows(firsts.size());
  const auto encode_some = [&](int64_t begin, int64_t end, int) {
    ScratchPool::Loan loans[] = {impl_->scratches.borrow(), impl_->scratches.borrow()};
    Pipeline::Scratch &a = *loans[0], &b = *loans[1];
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      impl_->tokenize(firsts[i], a);
      if (seconds.empty()) {
        rows[i] = impl_->encode(a.tokens, nullptr, o);
        continue;
      }
      impl_->tokenize(seconds[i], b);
      const Tokens rest(b.tokens);
      rows[i] = impl_->encode(a.tokens, &rest, o);
    }
  };
  const auto count = static_cast<int64_t>(rows.size());
  if (pool != nullptr) {
    pool->parallel_for(count, encode_some);
  } else {
    encode_some(0, count, 0);
  }
  impl_->pad_rows(rows, o);
  return rows;
}

std::vector<Encoding> Tokenizer::encode_windows(std::string_view question, std::string_view context, int max_length,
                                                int stride) const {
  const size_t budget = impl_->budget(std::max(max_length, 0), true, true);
  const auto shared = static_cast<size_t>(std::max(stride, 0));
  ScratchPool::Loan loans[] = {impl_->scratches.borrow(), impl_->scratches.borrow()};
  Pipeline::Scratch &a = *loans[0], &b = *loans[1];
  impl_->tokenize(question, a);
  impl_->tokenize(context, b);
  Tokens first(a.tokens);
  if (first.size() + b.tokens.size() > budget && first.size() + shared >= budget) {
    first = first.first(std::min(first.size(), budget / 2));
  }
  return impl_->windows(&first, b.tokens, budget - std::min(budget, first.size()), shared);
}

std::vector<Encoding> Tokenizer::encode_windows(std::string_view text, int max_length, int stride) const {
  ScratchPool::Loan loan = impl_->scratches.borrow();
  Pipeline::Scratch& scratch = *loan;
  impl_->tokenize(text, scratch);
  return impl_->windows(nullptr, scratch.tokens, impl_->budget(std::max(max_length, 0), true, false),
                        static_cast<size_t>(std::max(stride, 0)));
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  std::vector<std::string_view> tokens;
  for (const int32_t id : ids) {
    const AddedToken* added = impl_->parts.pipeline.added().find(id);
    if (added != nullptr) {
      if (!(skip_special_tokens && added->special)) tokens.push_back(added->content);
    } else if (impl_->parts.pipeline.model().vocabulary().has(id)) {
      tokens.push_back(impl_->parts.pipeline.model().vocabulary().token(id));
    }
  }
  return impl_->parts.decoder.decode(tokens);
}

int32_t Tokenizer::token_to_id(std::string_view token) const { return impl_->parts.token_to_id(token); }

std::string_view Tokenizer::id_to_token(int32_t id) const {
  const AddedToken* added = impl_->parts.pipeline.added().find(id);
  return added != nullptr ? added->content : impl_->parts.pipeline.model().vocabulary().token(id);
}

int32_t Tokenizer::pad_id() const { return impl_->pad; }
int32_t Tokenizer::mask_id() const { return impl_->mask; }
int32_t Tokenizer::cls_id() const { return impl_->cls; }
int32_t Tokenizer::sep_id() const { return impl_->sep; }
int32_t Tokenizer::unk_id() const { return impl_->unk; }
int32_t Tokenizer::vocab_size() const {
  return impl_->parts.pipeline.model().vocabulary().size() + impl_->parts.pipeline.added().beyond_vocabulary();
}
int32_t Tokenizer::model_max_length() const { return impl_->parts.settings.model_max_length; }

}  // namespace tenon::text
