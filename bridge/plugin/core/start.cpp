// Starting a sidecar from within a host, without disturbing the host.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "hub.hpp"

#ifdef _WIN32
#include <process.h>
#else
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
extern char** environ;
#endif

namespace dawbridge {

namespace {

std::string data_folder() {
    const char* chosen = std::getenv("DAWBRIDGE_DATA_DIR");
    if (chosen && *chosen) return chosen;
    [[maybe_unused]] const char* home = std::getenv("HOME");
#if defined(_WIN32)
    const char* local = std::getenv("LOCALAPPDATA");
    return std::string(local ? local : "") + "\\dawbridge";
#elif defined(__APPLE__)
    return std::string(home ? home : "") + "/Library/Application Support/dawbridge";
#else
    const char* data = std::getenv("XDG_DATA_HOME");
    return data && *data ? std::string(data) + "/dawbridge" : std::string(home ? home : "") + "/.local/share/dawbridge";
#endif
}

// The words of the command, one a line in the file that `dawbridge plugin install` writes.
std::vector<std::string> command() {
    std::vector<std::string> words;
    const char* chosen = std::getenv("DAWBRIDGE_COMMAND");
    if (chosen && *chosen) return {chosen, "serve", "--once"};
    if (std::FILE* file = std::fopen((data_folder() + "/sidecar-command").c_str(), "r")) {
        std::string word;
        for (int c; (c = std::fgetc(file)) != EOF && words.size() < 16;) {
            if (c != '\n') word += static_cast<char>(c);
            else if (!word.empty()) words.push_back(word), word.clear();
        }
        std::fclose(file);
    }
    if (words.empty()) words.emplace_back("dawbridge");
    words.emplace_back("serve");
    words.emplace_back("--once");
    return words;
}

}  // namespace

bool start_sidecar() {
    std::vector<std::string> words = command();
#ifndef _WIN32
    const char* shell[] = {"/bin/sh", "-c", "\"$@\" &", "sh"};  // the sidecar becomes nobody's child
    words.insert(words.begin(), shell, shell + 4);
#endif
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(&word[0]);
    arguments.push_back(nullptr);
#ifdef _WIN32
    return _spawnvp(_P_DETACH, arguments[0], arguments.data()) != -1;
#else
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    for (int stream = 0; stream < 3; ++stream)
        posix_spawn_file_actions_addopen(&files, stream, "/dev/null", O_RDWR, 0);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
#ifdef POSIX_SPAWN_SETSID
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);  // outlives the host's terminal
#endif
    pid_t child = 0;
    const int failed = posix_spawnp(&child, arguments[0], &files, &attributes, arguments.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return failed == 0 && waitpid(child, nullptr, 0) == child;
#endif
}

}  // namespace dawbridge
