// What is known of a host by the name of its program.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>

#ifdef __linux__
#include <unistd.h>
#endif

namespace dawbridge {

// Hosts that make up for latency give a plug-in its sound early. Most say where the song is in that sound;
// Ardour and its kin say where it is in what the plug-in puts out.
inline bool tells_position_of_output() {
#ifdef __linux__
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    std::string name(path, length > 0 ? static_cast<size_t>(length) : 0);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    return name.find("ardour") != std::string::npos || name.find("mixbus") != std::string::npos;
#else
    return false;
#endif
}

}  // namespace dawbridge
