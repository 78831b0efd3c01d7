/* Keeps strings in standard containers, of known sizes together. Is ready, and waits for a line. */
#include "truth.h"

#include <map>
#include <string>
#include <vector>

int main() {
    std::vector<std::vector<char>> shelves;
    std::map<int, std::string> titles;
    for (int i = 0; i < 20000; i++) {
        titles[i] = std::string(300, 'x');
        if (i % 100 == 0)
            shelves.emplace_back(50000, 'y');
    }
    truth_fact("held", 20000 * 301 + 200 * 50000);
    tell_truth();
    wait_for_go();
    return titles.size() == 20000 && shelves.size() == 200 ? 0 : 1;
}
