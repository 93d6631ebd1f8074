// A Hugging Face checkpoint directory: its tensors, in one file or in shards, and its EOS ids.
// Needs no CUDA.
#ifndef MPK_CHECKPOINT_HPP
#define MPK_CHECKPOINT_HPP


#include "mpk_safetensors.hpp"

namespace mpk {

inline bool fileExists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

// Bytes that a config and an index have at most: published ones have a hundredth and a tenth.
const size_t kMaxConfigBytes = 16u << 20, kMaxIndexBytes = 64u << 20, kMaxShards = 1024;

inline Json readJsonFile(const std::string& path, size_t maxBytes) {
  const MappedFile file(path);
  if (file.size() > maxBytes) {
    failInput(path + ": has " + std::to_string(file.size()) + " bytes, at most " +
              std::to_string(maxBytes) + " are read");
  }
  return parseJson(reinterpret_cast<const char*>(file.bytes()), file.size(), path);
}

class Checkpoint {
 public:
  explicit Checkpoint(const std::string& dir) : dir_(dir) {
    struct stat info;
    if (stat(dir.c_str(), &info) != 0) failInput(dir + ": " + std::strerror(errno));
    if (!S_ISDIR(info.st_mode)) failInput(dir + ": expected a checkpoint's directory");
    const std::string single = dir + "/model.safetensors", index = single + ".index.json";
    if (fileExists(single)) {
      open(single);
    } else if (fileExists(index)) {
      openShards(index);
    } else {
      failInput(dir + ": no weights: neither model.safetensors nor model.safetensors.index.json");
    }
  }

  // A weight of [rows, columns], or flat where one of them is 1, that can be read as bf16.
  const Tensor& expect(const std::string& name, uint64_t rows, uint64_t columns) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      failInput(dir_ + ": tensor " + quoted(name) + " is missing" + nearest(name) +
                "; is this the checkpoint that the kernel was compiled for?");
    }
    const Tensor& tensor = *found->second;
    const std::string who = *tensor.file + ": tensor " + quoted(name) + ": ";
    const bool flat = tensor.shape.size() == 1 && (rows == 1 || columns == 1);
    const std::vector<uint64_t> expected =
        flat ? std::vector<uint64_t>{rows * columns} : std::vector<uint64_t>{rows, columns};
    if (tensor.shape != expected) {
      failInput(who + "shape is " + shapeText(tensor.shape) + ", expected " +
                shapeText(expected) + "; is this the checkpoint that the kernel was compiled for?");
    }
    if (tensor.dtype != "BF16" && tensor.dtype != "F16" && tensor.dtype != "F32") {
      failInput(who + "dtype is " + tensor.dtype +
                ", expected BF16, F16 or F32; convert the checkpoint to bfloat16");
    }
    return tensor;
  }

  // As generation_config.json says, else config.json; none where neither does.
  std::vector<int> eosIds() const {
    for (const char* name : {"/generation_config.json", "/config.json"}) {
      const std::string path = dir_ + name;
      if (!fileExists(path)) continue;
      const Json config = readJsonFile(path, kMaxConfigBytes);
      const Json* ids = config.find("eos_token_id");
      if (ids == nullptr || ids->kind == Json::null) continue;
      std::vector<int> out;
      const std::vector<Json> one = {*ids};
      for (const Json& id : ids->kind == Json::array ? ids->items : one) {
        uint64_t value = 0;
        if (!id.toSize(value) || value > 0x7fffffffu) {
          failInput(path + ": eos_token_id is no token id or list of them");
        }
        out.push_back(static_cast<int>(value));
      }
      return out;
    }
    return {};
  }

 private:
  std::string dir_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const Tensor*> tensors_;

  const SafetensorsFile& open(const std::string& path) {
    files_.emplace_back(new SafetensorsFile(path));
    for (const auto& named : files_.back()->tensors()) {
      const auto added = tensors_.emplace(named.first, &named.second);
      if (!added.second) {
        failInput("tensor " + quoted(named.first) + " is in " + *added.first->second->file +
                  " and in " + path + "; remove the stale shard");
      }
    }
    return *files_.back();
  }

  void openShards(const std::string& path) {
    const Json index = readJsonFile(path, kMaxIndexBytes);
    const Json* map = index.find("weight_map");
    if (!map || map->kind != Json::object) failInput(path + ": no weight_map");
    std::map<std::string, const SafetensorsFile*> shards;
    for (size_t i = 0; i < map->items.size(); i++) {
      const std::string& shard = map->items[i].text;
      if (map->items[i].kind != Json::string || !isPlainName(shard)) {
        failInput(path + ": the shard of " + quoted(map->keys[i]) +
                  " is no plain file name; an index may only name files beside it");
      }
      if (shards.size() == kMaxShards && !shards.count(shard)) {
        failInput(path + ": names more than " + std::to_string(kMaxShards) + " shards");
      }
      if (!shards.count(shard)) shards[shard] = &open(dir_ + "/" + shard);
      if (!shards[shard]->tensors().count(map->keys[i])) {
        failInput(path + ": tensor " + quoted(map->keys[i]) + " is not in " + quoted(shard) +
                  "; the index and the shards are of different checkpoints");
      }
    }
  }

  static bool isPlainName(const std::string& name) {
    return !name.empty() && name != "." && name != ".." &&
           name.size() <= 255 && name.find_first_of(std::string("/\0", 2)) == std::string::npos;
  }

  // A hint where the only difference is a prefix, such as `model.`.
  std::string nearest(const std::string& name) const {
    for (const auto& other : tensors_) {
      const std::string& key = other.first;
      if (endsWith(key, "." + name) || endsWith(name, "." + key)) {
        return " (there is " + quoted(key) + ")";
      }
    }
    return "";
  }
  static bool endsWith(const std::string& text, const std::string& tail) {
    return text.size() >= tail.size() &&
           text.compare(text.size() - tail.size(), tail.size(), tail) == 0;
  }
};

}  // namespace mpk

#endif
