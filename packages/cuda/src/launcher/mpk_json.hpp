// Failures, and a small strict JSON reader for untrusted files. Needs no CUDA.
#ifndef MPK_JSON_HPP
#define MPK_JSON_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mpk.h"

namespace mpk {

// Thrown inside the launcher only; the C functions turn it into an mpk_error.
struct Failure {
  mpk_code code;
  std::string message;
};

[[noreturn]] inline void failInput(const std::string& message) {
  throw Failure{MPK_ERROR_INPUT, message};
}

struct Json {
  enum Kind { null, boolean, number, string, array, object };
  Kind kind = null;
  std::string text;               // a string's UTF-8, a number's or word's literal
  std::vector<std::string> keys;  // of an object, one per item
  std::vector<Json> items;

  const Json* find(const std::string& key) const {
    for (size_t i = 0; i < keys.size(); i++) {
      if (keys[i] == key) return &items[i];
    }
    return nullptr;
  }
  // A whole number from 0 in plain digits; false for anything else, also beyond 2^53.
  bool toSize(uint64_t& out) const {
    if (kind != number || text.size() > 16) return false;
    out = 0;
    for (char c : text) {
      if (c < '0' || c > '9') return false;
      out = out * 10 + static_cast<uint64_t>(c - '0');
    }
    return out <= (uint64_t(1) << 53);
  }
};

// A name from a file, fit for a message.
inline std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text.substr(0, 200)) {
    const bool control = static_cast<unsigned char>(c) < 32 || c == 127;
    out += control ? '?' : c;
  }
  return out + (text.size() > 200 ? "...\"" : "\"");
}

class JsonParser {
 public:
  JsonParser(const char* text, size_t size, const std::string& who)
      : begin_(text), at_(text), end_(text + size), who_(who) {}

  Json parse() {
    Json value = parseValue(0);
    skipSpace();
    if (at_ != end_) fail("nothing may follow the value");
    return value;
  }

 private:
  // A value takes about a hundred bytes of memory, however few it has in the file.
  static const int kMaxDepth = 64, kMaxValues = 1 << 22;
  int values_ = 0;
  const char *begin_, *at_, *end_;
  const std::string& who_;

  [[noreturn]] void fail(const std::string& why) const {
    failInput(who_ + ": not JSON at byte " + std::to_string(at_ - begin_) + ": " + why);
  }
  bool more() const { return at_ != end_; }
  char peek() const { return more() ? *at_ : '\0'; }
  void skipSpace() {
    while (more() && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) at_++;
  }
  bool take(char c) {
    if (peek() != c || !more()) return false;
    at_++;
    return true;
  }

  Json parseValue(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    if (++values_ > kMaxValues) fail("more than " + std::to_string(kMaxValues) + " values");
    skipSpace();
    Json value;
    if (take('{')) {
      value.kind = Json::object;
      parseObject(value, depth);
    } else if (take('[')) {
      value.kind = Json::array;
      parseArray(value, depth);
    } else if (take('"')) {
      value.kind = Json::string;
      value.text = parseString();
    } else if (peek() == '-' || isDigit(peek())) {
      value.kind = Json::number;
      value.text = parseNumber();
    } else {
      parseWord(value);
    }
    return value;
  }

  void parseObject(Json& object, int depth) {
    skipSpace();
    if (take('}')) return;
    do {
      skipSpace();
      if (!take('"')) fail("expected a key in quotes");
      object.keys.push_back(parseString());
      skipSpace();
      if (!take(':')) fail("expected ':'");
      object.items.push_back(parseValue(depth + 1));
      skipSpace();
    } while (take(','));
    if (!take('}')) fail("expected ',' or '}'");
    std::vector<std::string> sorted = object.keys;
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) fail("the key " + quoted(*twice) + " is there twice");
  }

  void parseArray(Json& array, int depth) {
    skipSpace();
    if (take(']')) return;
    do {
      array.items.push_back(parseValue(depth + 1));
      skipSpace();
    } while (take(','));
    if (!take(']')) fail("expected ',' or ']'");
  }

  void parseWord(Json& value) {
    for (const char* word : {"null", "true", "false"}) {
      const std::string text = word;
      if (static_cast<size_t>(end_ - at_) < text.size()) continue;
      if (!std::equal(text.begin(), text.end(), at_)) continue;
      at_ += text.size();
      value.kind = text == "null" ? Json::null : Json::boolean;
      value.text = text;
      return;
    }
    fail(more() ? "expected a value" : "the text ends too early");
  }

  static bool isDigit(char c) { return c >= '0' && c <= '9'; }
  void digits() {
    if (!isDigit(peek())) fail("expected a digit");
    while (isDigit(peek())) at_++;
  }
  std::string parseNumber() {
    const char* start = at_;
    take('-');
    if (!take('0')) digits();
    if (take('.')) digits();
    if (peek() == 'e' || peek() == 'E') {
      at_++;
      if (!take('+')) take('-');
      digits();
    }
    return std::string(start, at_);
  }

  std::string parseString() {
    std::string out;
    while (!take('"')) {
      if (!more()) fail("a string does not end");
      const unsigned char c = static_cast<unsigned char>(*at_);
      if (c < 0x20) fail("a control character in a string");
      if (c == '\\') {
        at_++;
        parseEscape(out);
      } else if (c < 0x80) {
        out += *at_++;
      } else {
        copyUtf8(out);
      }
    }
    return out;
  }

  void parseEscape(std::string& out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    for (int i = 0; from[i] != '\0'; i++) {
      if (!take(from[i])) continue;
      out += to[i];
      return;
    }
    if (!take('u')) fail("an unknown escape");
    uint32_t code = parseHex();
    if (code >= 0xd800 && code < 0xdc00) {
      if (!take('\\') || !take('u')) fail("half a surrogate pair");
      const uint32_t low = parseHex();
      if (low < 0xdc00 || low > 0xdfff) fail("half a surrogate pair");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      fail("half a surrogate pair");
    }
    appendUtf8(out, code);
  }

  uint32_t parseHex() {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, at_++) {
      const char c = peek();
      const int digit = isDigit(c)               ? c - '0'
                        : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                        : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                                 : -1;
      if (digit < 0) fail("expected four hex digits");
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    return code;
  }

  static void appendUtf8(std::string& out, uint32_t code) {
    const auto add = [&out](uint32_t byte) { out += static_cast<char>(byte); };
    if (code < 0x80) return add(code);
    if (code < 0x800) {
      add(0xc0 | code >> 6);
    } else {
      if (code < 0x10000) {
        add(0xe0 | code >> 12);
      } else {
        add(0xf0 | code >> 18);
        add(0x80 | (code >> 12 & 63));
      }
      add(0x80 | (code >> 6 & 63));
    }
    add(0x80 | (code & 63));
  }

  // One character of two to four bytes: no overlong forms, no surrogates, at most U+10FFFF.
  void copyUtf8(std::string& out) {
    const unsigned char lead = static_cast<unsigned char>(*at_);
    const int tail = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || end_ - at_ <= tail) fail("not UTF-8");
    uint32_t code = lead & (0x3fu >> tail);
    for (int i = 1; i <= tail; i++) {
      const unsigned char c = static_cast<unsigned char>(at_[i]);
      if ((c & 0xc0) != 0x80) fail("not UTF-8");
      code = code << 6 | (c & 63u);
    }
    const bool overlong = (tail == 2 && code < 0x800) || (tail == 3 && code < 0x10000);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) fail("not UTF-8");
    out.append(at_, static_cast<size_t>(tail) + 1);
    at_ += tail + 1;
  }
};

// Throws Failure naming `who` and the byte.
inline Json parseJson(const char* text, size_t size, const std::string& who) {
  return JsonParser(text, size, who).parse();
}

}  // namespace mpk

#endif
