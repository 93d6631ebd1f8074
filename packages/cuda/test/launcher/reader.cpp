// Reads checkpoints as the launcher does. Arguments: folders. Prints a line of JSON for each: the
// tensors "w" [rows, columns] listed in the folder's file `expect`, or the error.
#include <cstdio>
#include <fstream>

#include "mpk_checkpoint.hpp"

namespace {

void printWords(const mpk::Tensor& tensor, uint64_t elements) {
  // In two pieces, as uploads cut tensors.
  std::vector<uint16_t> words(elements);
  const size_t half = elements / 3;
  mpk::toBf16(tensor, 0, half, words.data());
  mpk::toBf16(tensor, half, elements - half, words.data() + half);
  for (size_t i = 0; i < elements; i++) std::printf("%s%u", i ? "," : "", words[i]);
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

void readFolder(const std::string& dir) {
  try {
    const mpk::Checkpoint checkpoint(dir);
    const std::vector<int> eos = checkpoint.eosIds();
    std::ifstream wanted(dir + "/expect");
    std::string name;
    uint64_t rows, columns;
    std::vector<std::pair<const mpk::Tensor*, uint64_t>> found;
    while (wanted >> rows >> columns && std::getline(wanted.ignore(1), name)) {
      found.emplace_back(&checkpoint.expect(name, rows, columns), rows * columns);
    }
    std::printf("{\"eos\":[");
    for (size_t i = 0; i < eos.size(); i++) std::printf("%s%d", i ? "," : "", eos[i]);
    std::printf("],\"tensors\":[");
    for (size_t i = 0; i < found.size(); i++) {
      std::printf("%s[", i ? "," : "");
      printWords(*found[i].first, found[i].second);
      std::printf("]");
    }
    std::printf("]}\n");
  } catch (const mpk::Failure& failure) {
    std::printf("{\"error\":\"%s\",\"code\":%d}\n", escaped(failure.message).c_str(), failure.code);
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; i++) readFolder(argv[i]);
}
