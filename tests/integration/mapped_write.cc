// Writes a file to another with direct I/O, from its mapping: the disk's buffers are then the pages
// of the first file themselves, wherever those are. For shared_layer_test.py, inside a container.
//
//   mapped_write FROM TO
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int from = open(argv[1], O_RDONLY);
  const int to = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT, 0644);
  struct stat status {};
  if (from < 0 || to < 0 || fstat(from, &status) != 0) {
    std::perror("open");
    return 1;
  }
  constexpr off_t kPage = 4096;
  const off_t whole = (status.st_size + kPage - 1) / kPage * kPage;
  char* const bytes = static_cast<char*>(
      mmap(nullptr, static_cast<std::size_t>(whole), PROT_READ, MAP_SHARED, from, 0));
  if (bytes == MAP_FAILED) {
    std::perror("mmap");
    return 1;
  }
  for (off_t done = 0; done < whole;) {
    const ssize_t count = pwrite(to, bytes + done, static_cast<std::size_t>(whole - done), done);
    if (count <= 0) {
      std::perror("pwrite");
      return 1;
    }
    done += count;
  }
  return ftruncate(to, status.st_size) == 0 ? 0 : 1;
}
