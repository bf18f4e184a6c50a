// tenon::Tokenizer: the same as text::Tokenizer, with exceptions at the edge.
#include <sys/stat.h>

#include <utility>

#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "tenon/tokenizer.h"
#include "text/tokenizer.h"

namespace tenon {
namespace {

using Inner = std::shared_ptr<const text::Tokenizer>;

void check(const EncodeOptions& options) {
  for (const int value : {options.max_length, options.stride, options.pad_length, options.pad_to_multiple}) {
    if (value < 0) throw_if_error(error(ErrorCode::kInvalidArgument, "encode: a length of {} tokens", value));
  }
}

bool is_folder(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<Inner> load_file(const std::string& path) {
  if (is_folder(path)) return text::Tokenizer::from_folder(path);
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  const std::string_view bytes(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  if (path.ends_with(".json")) return text::Tokenizer::from_json(bytes, path);
  if (path.ends_with(".model")) return text::Tokenizer::from_sentencepiece(bytes, path);
  return text::Tokenizer::from_vocab(bytes, {}, path);
}

}  // namespace

struct Tokenizer::Impl {
  Inner tokenizer;
};

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer Tokenizer::load(const std::string& path) {
  return Tokenizer(std::make_shared<const Impl>(Impl{value_or_throw(load_file(path))}));
}

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  check(options);
  return impl_->tokenizer->encode(text, options);
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second, const EncodeOptions& options) const {
  check(options);
  return impl_->tokenizer->encode_pair(first, second, options);
}

std::vector<Encoding> Tokenizer::encode_batch(std::span<const std::string> texts, const EncodeOptions& options,
                                              int threads) const {
  check(options);
  if (threads == 1) return impl_->tokenizer->encode_batch(texts, options);
  ThreadPool pool(threads);
  return impl_->tokenizer->encode_batch(texts, options, &pool);
}

std::vector<Encoding> Tokenizer::encode_windows(std::string_view question, std::string_view context, int max_length,
                                                int stride) const {
  if (max_length <= 0 || stride < 0 || stride >= max_length) {
    throw_if_error(
        error(ErrorCode::kInvalidArgument, "encode_windows: windows of {} tokens cannot share {}", max_length, stride));
  }
  return impl_->tokenizer->encode_windows(question, context, max_length, stride);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  return impl_->tokenizer->decode(ids, skip_special_tokens);
}

int32_t Tokenizer::token_to_id(std::string_view token) const { return impl_->tokenizer->token_to_id(token); }
std::string Tokenizer::id_to_token(int32_t id) const { return std::string(impl_->tokenizer->id_to_token(id)); }
int32_t Tokenizer::pad_id() const { return impl_->tokenizer->pad_id(); }
int32_t Tokenizer::mask_id() const { return impl_->tokenizer->mask_id(); }
int32_t Tokenizer::cls_id() const { return impl_->tokenizer->cls_id(); }
int32_t Tokenizer::sep_id() const { return impl_->tokenizer->sep_id(); }
int32_t Tokenizer::unk_id() const { return impl_->tokenizer->unk_id(); }
int32_t Tokenizer::vocab_size() const { return impl_->tokenizer->vocab_size(); }
int32_t Tokenizer::model_max_length() const { return impl_->tokenizer->model_max_length(); }

}  // namespace tenon
