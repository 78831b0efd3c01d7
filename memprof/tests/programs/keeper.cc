// keeper COUNT SIZE: keeps blocks in a container, along a path of three functions; says so, and waits for
// the end of its input.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace orders {
class Book {
  public:
    __attribute__((noinline)) void add(size_t size) {
        kept.push_back(std::make_unique<char[]>(size));
    }
    __attribute__((noinline)) void fill(long count, size_t size) {
        for (long n = 0; n < count; n++)
            add(size);
    }

  private:
    std::vector<std::unique_ptr<char[]>> kept;
};
} // namespace orders

int main(int, char **arguments) {
    orders::Book book;
    // To be found before it begins.
    std::printf("ready\n");
    std::fflush(stdout);
    std::getchar();
    book.fill(std::atol(arguments[1]), std::strtoul(arguments[2], nullptr, 10));
    std::printf("kept\n");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
    return 0;
}
