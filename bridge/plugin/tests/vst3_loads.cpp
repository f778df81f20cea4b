// `vst3_loads LIBRARY` opens a VST3 as hosts on Windows do, and prints how many classes its factory has.
#include <cstdint>
#include <cstdio>

#include "library.hpp"

int main(int count, char** words) {
    if (count < 2) return 2;
    Library library(words[1]);
    if (!library) return 3;
    const auto begin = reinterpret_cast<bool (*)()>(const_cast<void*>(library.symbol("InitDll")));
    const auto end = reinterpret_cast<bool (*)()>(const_cast<void*>(library.symbol("ExitDll")));
    const auto open = reinterpret_cast<void* (*)()>(const_cast<void*>(library.symbol("GetPluginFactory")));
    if (!begin || !end || !open || !begin()) return 4;
    void* factory = open();
    if (!factory) return 5;
    // IPluginFactory: three methods of FUnknown, getFactoryInfo, countClasses
    const auto count_classes = (*static_cast<int32_t (***)(void*)>(factory))[4];
    std::printf("classes %d\n", static_cast<int>(count_classes(factory)));
    return end() ? library.close() : 6;
}
