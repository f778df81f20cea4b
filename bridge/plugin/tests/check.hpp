// A test is a function that calls CHECK; `main` runs those whose name contains an argument, or all.
#pragma once

#include <cstdio>
#include <cstring>
#include <vector>

namespace check {

struct Test {
    const char* name;
    void (*run)();
};

inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

inline int& failures() {
    static int count = 0;
    return count;
}

struct Entry {
    Entry(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

inline int run(int count, char** words) {
    int done = 0;
    for (const Test& test : tests()) {
        bool wanted = count == 0;
        for (int i = 0; i < count; ++i) wanted |= std::strstr(test.name, words[i]) != nullptr;
        if (!wanted) continue;
        std::printf("%s\n", test.name);
        std::fflush(stdout);
        test.run();
        ++done;
    }
    std::printf("%d tests, %d failures\n", done, failures());
    return done == 0 || failures() > 0;
}

}  // namespace check

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            ++check::failures();                                                  \
            std::printf("  %s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                         \
    } while (false)

#define TEST(name)                                \
    static void name();                           \
    static check::Entry name##_entry(#name, name); \
    static void name()
