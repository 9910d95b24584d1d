// The tensors of a file that torch.save wrote: a ZIP archive with a pickle and one file per
// storage. Only what a dictionary of names and tensors needs is understood; nothing in the file is
// executed. Source: PyTorch's torch/serialization.py and torch/_utils.py, Python's pickletools.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "checkpoint/mapped_file.h"
#include "tensor/tensor.h"

namespace quire {

// Immutable.  Thread: any.
class TorchPickleFile {
 public:
  // Throws LoadError naming the file and the tensor, the global or the instruction of the pickle
  // that is not supported.
  explicit TorchPickleFile(std::string path);

  const std::string& path() const { return file_.path(); }
  // Contiguous tensors of F32, F16 or BF16, possibly unaligned, valid as long as this file.  They
  // lie in the mapped file, but for those that the archive holds compressed.
  const std::map<std::string, TensorView>& tensors() const { return tensors_; }

 private:
  MappedFile file_;
  std::vector<Buffer> inflated_;
  std::map<std::string, TensorView> tensors_;
};

}  // namespace quire
