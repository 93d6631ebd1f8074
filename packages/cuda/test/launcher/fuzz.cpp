// Feeds the launcher's readers with mutated files, which lie in exactly as many bytes of heap as
// they have: a sanitizer sees every byte read beyond. Arguments: inputs, seconds, seed. Prints how
// many there were, how many were refused, and the milliseconds of the slowest.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

// A file system of strings in the folder "d".
std::map<std::string, std::string> files;
std::vector<const std::string*> opened;

int fakeOpen(const char* path, int) {
  const auto found = files.find(path);
  errno = ENOENT;
  if (found == files.end()) return -1;
  opened.push_back(&found->second);
  return static_cast<int>(opened.size()) - 1;
}
int fakeStat(const char* path, struct stat* info) {
  std::memset(info, 0, sizeof *info);
  const bool isFolder = std::strcmp(path, "d") == 0;
  info->st_mode = isFolder ? S_IFDIR : S_IFREG;
  errno = ENOENT;
  return isFolder || files.count(path) ? 0 : -1;
}
int fakeFstat(int fd, struct stat* info) {
  std::memset(info, 0, sizeof *info);
  info->st_mode = S_IFREG;
  info->st_size = static_cast<off_t>(opened[static_cast<size_t>(fd)]->size());
  return 0;
}
void* fakeMap(void*, size_t size, int, int, int fd, off_t) {
  void* copy = std::malloc(size);
  std::memcpy(copy, opened[static_cast<size_t>(fd)]->data(), size);
  return copy;
}
int fakeUnmap(void* memory, size_t) {
  std::free(memory);
  return 0;
}

}  // namespace

#define open(...) fakeOpen(__VA_ARGS__)
#define fstat(...) fakeFstat(__VA_ARGS__)
#define stat(...) fakeStat(__VA_ARGS__)
#define mmap(...) fakeMap(__VA_ARGS__)
#define munmap(...) fakeUnmap(__VA_ARGS__)
#define close(...) static_cast<void>(__VA_ARGS__)
#include "mpk_checkpoint.hpp"
#undef open
#undef close

namespace {

uint64_t state = 1;
uint32_t random32() {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return static_cast<uint32_t>(state >> 16);
}
size_t below(size_t count) { return count == 0 ? 0 : random32() % count; }

const char* const kTokens[] = {
    "0", "-1", "1", "1.5", "1e308", "9007199254740992", "18446744073709551615", "4294967296",
    "null", "true", "{}", "[]", "[[]]", "\"\"", "\"BF16\"", "\"F32\"", "\"F4\"", "\"__metadata__\"",
    "\"\\ud800\"", "\"\\u0000\"", "\"../x\"", "\"a\\\\b\"", "\"\xf0\x9f\x98\x80\"", "\"\xc0\x80\"", ",",
    ":", "}", "]", "{\"a\":", "[[[[[[[[[[[[[[[[", "\"dtype\":\"I8\",", "[0,24]", "[12,20]", "[0,0]",
    "\"eos_token_id\":", "\"weight_map\":", "//", "\x01", "\xff",
};

// Whole tokens replaced, taken out, repeated or inserted; or single bytes.
std::string mutated(const std::string& seed) {
  std::string text = seed;
  for (size_t edits = below(6); edits > 0; edits--) {
    size_t at = below(text.size() + 1), end = at;
    const bool whole = random32() % 3 != 0;
    const auto inside = [&](size_t i) { return std::strchr(",:{}[]\"", text[i]) == nullptr; };
    if (whole) {
      while (at > 0 && inside(at - 1)) at--;
      while (end < text.size() && inside(end)) end++;
    } else {
      end = std::min(text.size(), at + 1 + below(8));
    }
    const std::string piece = text.substr(at, end - at);
    switch (random32() % 5) {
      case 0: text.replace(at, piece.size(), kTokens[below(sizeof kTokens / sizeof *kTokens)]); break;
      case 1: text.insert(at, kTokens[below(sizeof kTokens / sizeof *kTokens)]); break;
      case 2: text.erase(at, piece.size()); break;
      case 3: text.insert(at, piece + piece); break;
      default: if (at < text.size()) text[at] = static_cast<char>(random32()); break;
    }
  }
  return text;
}

const std::string kHeader =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"model.a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[12,20]},"
    "\"c\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[20,24]}}";
const std::string kIndex =
    "{\"metadata\":{\"total_size\":24},\"weight_map\":{\"model.a\":\"one\",\"b\":\"one\","
    "\"c\":\"two\"}}";
const std::string kConfig = "{\"model_type\":\"llama\",\"eos_token_id\":[1,2],\"x\":{\"y\":[1.5e3]}}";

std::string withLength(const std::string& header, const std::string& data) {
  uint64_t length = header.size();
  if (random32() % 16 == 0) length = random32() % 4 == 0 ? ~0ull : below(200);
  std::string out;
  for (int i = 0; i < 8; i++) out += static_cast<char>(length >> (8 * i));
  out += header + data;
  if (random32() % 16 == 0) out.resize(below(out.size() + 1));
  return out;
}

void plant() {
  files.clear();
  opened.clear();
  const std::string data(24, '\x3f');
  if (random32() % 3 != 0) {
    files["d/model.safetensors"] = withLength(mutated(kHeader), data);
  } else {
    files["d/model.safetensors.index.json"] = mutated(kIndex);
    const std::string one = kHeader.substr(0, kHeader.find(",\"c\"")) + "}";
    files["d/one"] = withLength(random32() % 4 == 0 ? mutated(one) : one, data.substr(0, 20));
    const std::string two = "{\"c\":{\"dtype\":\"F16\",\"shape\":[1,2],\"data_offsets\":[0,4]}}";
    files["d/two"] = withLength(random32() % 4 == 0 ? mutated(two) : two, data.substr(0, 4));
  }
  if (random32() % 2 == 0) files["d/generation_config.json"] = mutated(kConfig);
  if (random32() % 2 == 0) files["d/config.json"] = mutated(kConfig);
}

// Every byte of what was accepted can be read.
void read(const mpk::Checkpoint& checkpoint) {
  const struct {
    const char* name;
    uint64_t rows, columns;
  } wanted[] = {{"model.a", 2, 3}, {"b", 2, 1}, {"c", 1, 2}};
  for (const auto& one : wanted) {
    const mpk::Tensor& tensor = checkpoint.expect(one.name, one.rows, one.columns);
    std::vector<uint16_t> words(one.rows * one.columns);
    mpk::toBf16(tensor, 0, words.size(), words.data());
  }
  checkpoint.eosIds();
}

}  // namespace

int main(int, char** argv) {
  const long inputs = std::atol(argv[1]);
  const double seconds = std::atof(argv[2]);
  state = 0x9e3779b97f4a7c15ull * static_cast<uint64_t>(std::atol(argv[3]) + 1);
  typedef std::chrono::steady_clock Clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto start = Clock::now();
  double slowest = 0;
  long done = 0, refused = 0;
  for (; done < inputs && since(start) < seconds; done++) {
    plant();
    const auto before = Clock::now();
    try {
      const mpk::Checkpoint checkpoint("d");
      read(checkpoint);
    } catch (const mpk::Failure& failure) {
      refused++;
      if (failure.message.empty() || failure.code != MPK_ERROR_INPUT) return 1;
    }
    slowest = std::max(slowest, since(before));
  }
  std::printf("%ld inputs, %ld refused, the slowest took %.0f ms\n", done, refused, 1e3 * slowest);
}
