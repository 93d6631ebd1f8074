// One safetensors file, mapped, read as untrusted input. Needs no CUDA. POSIX, little-endian.
#ifndef MPK_SAFETENSORS_HPP
#define MPK_SAFETENSORS_HPP

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>

#include "mpk_json.hpp"

namespace mpk {

// A whole file, read-only.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path) : path_(path) {
    // Non-blocking: a pipe in a file's place must not hang.
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) fail("cannot be read");
    struct stat info;
    const bool known = fstat(fd, &info) == 0;
    if (known && S_ISREG(info.st_mode)) size_ = static_cast<size_t>(info.st_size);
    // An empty file cannot be mapped.
    if (size_ > 0) data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    const int reason = errno;
    close(fd);
    errno = reason;
    if (!known || data_ == MAP_FAILED) fail("cannot be mapped");
    if (!S_ISREG(info.st_mode)) failInput(path + ": not a file");
  }
  ~MappedFile() {
    if (size_ > 0) munmap(data_, size_);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  size_t size() const { return size_; }
  const unsigned char* bytes() const { return static_cast<const unsigned char*>(data_); }

 private:
  std::string path_;
  size_t size_ = 0;
  void* data_ = nullptr;

  [[noreturn]] void fail(const char* why) const {
    failInput(path_ + ": " + why + ": " + std::strerror(errno));
  }
};

struct Tensor {
  const std::string* file = nullptr;
  std::string dtype;
  std::vector<uint64_t> shape;
  const unsigned char* data = nullptr;  // row-major, of any alignment
  uint64_t bytes = 0;
};

inline std::string shapeText(const std::vector<uint64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); i++) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

// Bits of one element; 0 for a format that safetensors does not have.
inline uint64_t storedBits(const std::string& dtype) {
  static const std::map<std::string, uint64_t> bits = {
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
      {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
      {"F32", 32}, {"F64", 64}, {"I64", 64}, {"U64", 64},    {"C64", 64},    {"F6_E2M3", 6},
      {"F6_E3M2", 6}, {"F4", 4},
  };
  const auto found = bits.find(dtype);
  return found == bits.end() ? 0 : found->second;
}

// Beyond every published checkpoint, and what bounds the memory that a header can cost.
const size_t kMaxTensors = 1u << 18, kMaxNameBytes = 1024, kMaxDims = 16;

// Every tensor of one file, after its whole header was checked: length, JSON, dtypes, shapes, and
// that each byte behind the header belongs to exactly one tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path) : file_(path) {
    const uint64_t headerEnd = readHeaderEnd();
    const std::string where = path + ": the header";
    const char* text = reinterpret_cast<const char*>(file_.bytes()) + 8;
    const Json header = parseJson(text, static_cast<size_t>(headerEnd - 8), where);
    if (header.kind != Json::object) fail("the header is not a JSON object");
    if (header.keys.size() > kMaxTensors) {
      fail("the header names more than " + std::to_string(kMaxTensors) + " tensors");
    }
    for (size_t i = 0; i < header.keys.size(); i++) {
      if (header.keys[i] == "__metadata__") {
        checkMetadata(header.items[i]);
        continue;
      }
      if (header.keys[i].empty()) fail("a tensor has an empty name");
      if (header.keys[i].size() > kMaxNameBytes) {
        fail("tensor " + quoted(header.keys[i]) + " has a name of more than " +
             std::to_string(kMaxNameBytes) + " bytes");
      }
      addTensor(header.keys[i], header.items[i], headerEnd);
    }
    checkCover(headerEnd);
  }

  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

 private:
  MappedFile file_;
  std::map<std::string, Tensor> tensors_;

  [[noreturn]] void fail(const std::string& why) const {
    failInput(file_.path() + ": " + why + "; download the file again, or save it again");
  }

  uint64_t readHeaderEnd() const {
    static const uint64_t kMaxHeaderBytes = 100000000;  // the format's own limit
    if (file_.size() < 8) {
      fail("truncated: at least 8 bytes expected, it has " + std::to_string(file_.size()));
    }
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) length = length << 8 | file_.bytes()[i];
    if (length > kMaxHeaderBytes) {
      failInput(file_.path() + ": the header claims " + std::to_string(length) +
                " bytes; is this a safetensors file? Other formats are not read");
    }
    if (8 + length > file_.size()) {
      fail("truncated: the header ends at byte " + std::to_string(8 + length) +
           ", the file has " + std::to_string(file_.size()));
    }
    return 8 + length;
  }

  void checkMetadata(const Json& metadata) const {
    bool strings = metadata.kind == Json::object;
    for (const Json& item : metadata.items) strings = strings && item.kind == Json::string;
    if (!strings) fail("__metadata__ is not a map of strings");
  }

  void addTensor(const std::string& name, const Json& entry, uint64_t headerEnd) {
    const std::string who = "tensor " + quoted(name) + ": ";
    const Json *dtype = entry.find("dtype"), *shape = entry.find("shape"),
               *offsets = entry.find("data_offsets");
    if (!dtype || !shape || !offsets || entry.keys.size() != 3) {
      fail(who + "expected exactly dtype, shape and data_offsets");
    }
    Tensor tensor;
    tensor.file = &file_.path();
    tensor.dtype = dtype->text;
    const uint64_t bits = dtype->kind == Json::string ? storedBits(dtype->text) : 0;
    if (bits == 0) fail(who + "unknown dtype " + quoted(dtype->text));
    tensor.shape = readSizes(*shape, who + "shape");
    if (tensor.shape.size() > kMaxDims) {
      fail(who + "more than " + std::to_string(kMaxDims) + " dims");
    }
    const std::vector<uint64_t> range = readSizes(*offsets, who + "data_offsets");
    if (range.size() != 2 || range[0] > range[1]) fail(who + "data_offsets are no range");
    tensor.bytes = range[1] - range[0];
    const uint64_t expected = bytesOf(tensor.shape, bits, who);
    if (tensor.bytes != expected) {
      fail(who + tensor.dtype + " " + shapeText(tensor.shape) + " takes " +
           std::to_string(expected) + " bytes, data_offsets give " +
           std::to_string(tensor.bytes));
    }
    if (range[1] > file_.size() - headerEnd) {
      fail(who + "ends at byte " + std::to_string(headerEnd + range[1]) + ", the file has " +
           std::to_string(file_.size()) + " (truncated?)");
    }
    tensor.data = file_.bytes() + headerEnd + range[0];
    tensors_.emplace(name, tensor);
  }

  std::vector<uint64_t> readSizes(const Json& list, const std::string& who) const {
    std::vector<uint64_t> out;
    if (list.kind != Json::array) fail(who + " is no list");
    for (const Json& item : list.items) {
      uint64_t size = 0;
      if (!item.toSize(size)) fail(who + " has an entry that is no whole number from 0");
      out.push_back(size);
    }
    return out;
  }

  uint64_t bytesOf(const std::vector<uint64_t>& shape, uint64_t bits,
                   const std::string& who) const {
    uint64_t product = bits;
    for (uint64_t dim : shape) {
      if (dim != 0 && product > (uint64_t(1) << 62) / dim) fail(who + "the shape is too large");
      product *= dim;
    }
    if (product % 8 != 0) fail(who + "the shape is not a whole number of bytes");
    return product / 8;
  }

  void checkCover(uint64_t headerEnd) const {
    typedef std::pair<const std::string, Tensor> Named;
    std::vector<const Named*> order;
    for (const Named& named : tensors_) order.push_back(&named);
    std::sort(order.begin(), order.end(), [](const Named* a, const Named* b) {
      return std::make_pair(a->second.data, a->second.bytes) <
             std::make_pair(b->second.data, b->second.bytes);
    });
    const unsigned char* end = file_.bytes() + headerEnd;
    std::string before = "the header";
    for (const Named* named : order) {
      const std::string name = quoted(named->first);
      if (named->second.data < end) fail("tensors " + before + " and " + name + " overlap");
      if (named->second.data > end) {
        fail(std::to_string(named->second.data - end) + " bytes between " + before + " and " +
             name + " belong to no tensor");
      }
      end = named->second.data + named->second.bytes;
      before = name;
    }
    const uint64_t rest = static_cast<uint64_t>(file_.bytes() + file_.size() - end);
    if (rest != 0) fail(std::to_string(rest) + " bytes after " + before + " belong to no tensor");
  }
};

// ---- conversion to bf16 ------------------------------------------------------------------------

// To nearest even; NaNs stay NaNs (made quiet), overflow gives an infinity.
inline uint16_t bf16OfF32(uint32_t bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// The float32 bits of an IEEE half. Exact.
inline uint32_t f32OfF16(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31u;
  uint32_t fraction = half & 1023u;
  if (exponent == 31) return sign | 0x7f800000u | fraction << 13;
  if (exponent != 0) return sign | (exponent + 112) << 23 | fraction << 13;
  if (fraction == 0) return sign;
  uint32_t shifts = 0;
  for (; (fraction & 1024u) == 0; fraction <<= 1) shifts++;
  return sign | (113 - shifts) << 23 | (fraction & 1023u) << 13;
}

// Elements [first, first + count) as bf16; the dtype is BF16, F16 or F32.
inline void toBf16(const Tensor& tensor, uint64_t first, size_t count, uint16_t* out) {
  if (count == 0) return;
  if (tensor.dtype == "BF16") {
    std::memcpy(out, tensor.data + 2 * first, 2 * count);
  } else if (tensor.dtype == "F16") {
    for (size_t i = 0; i < count; i++) {
      uint16_t half;
      std::memcpy(&half, tensor.data + 2 * (first + i), 2);
      out[i] = bf16OfF32(f32OfF16(half));
    }
  } else {
    for (size_t i = 0; i < count; i++) {
      uint32_t bits;
      std::memcpy(&bits, tensor.data + 4 * (first + i), 4);
      out[i] = bf16OfF32(bits);
    }
  }
}

}  // namespace mpk

#endif
