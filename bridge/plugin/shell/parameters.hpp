// The parameters, in the order in which hosts number them: new ones only at the end.
#pragma once

#include <cstdint>
#include <iterator>

namespace dawbridge {

enum Parameter : uint32_t {
    bypass, mode, latency_preset, monitor, start,
    dynamics, velocity, tempo, connected, late, dropped, sounding,
#ifdef DISTRHO_PLUGIN_TARGET_LV2
    freewheel,  // an LV2 host tells by a port of its own that it renders faster than time
#endif
    preset_status,
    system,
    parameter_count
};

struct ParameterFacts {
    const char *name, *symbol, *comment;
    bool output, boolean;
    float minimum, maximum, initial;
};

constexpr const char* alignments[] = {"as preset", "aligned", "immediate"};
constexpr const char* latency_presets[] = {"as sidecar", "tight", "live", "balanced", "accurate", "offline", "eager"};
constexpr int last_alignment = static_cast<int>(std::size(alignments)) - 1;
constexpr int last_latency_preset = static_cast<int>(std::size(latency_presets)) - 1;

constexpr const char* systems[] = {"as sidecar", "piano", "rhythm", "player"};
constexpr int last_system = static_cast<int>(std::size(systems)) - 1;
constexpr const char* switches[] = {"off", "on"};
constexpr const char* preset_statuses[] = {"as asked", "of that name instead", "the sidecar's instead"};
constexpr int last_preset_status = static_cast<int>(std::size(preset_statuses)) - 1;

constexpr ParameterFacts parameter_facts[parameter_count] = {
    {"Bypass", "dpf_bypass", "Audio passes with the same delay; nothing is heard", false, true, 0, 1, 0},
    {"Alignment", "alignment", "Applies when the plug-in is next activated", false, false, 0, last_alignment, 0},
    {"Latency preset", "latency_preset", "Applies when the plug-in is next activated", false, false, 0, last_latency_preset, 0},
    {"Monitor", "monitor", "Hear also while the transport stands", false, true, 0, 1, 1},
    {"Start sidecar", "start_sidecar", "Start a sidecar if none runs", false, true, 0, 1, 0},
    {"Dynamics", "dynamics", "Loudness that was heard", true, false, 0, 1, 0},
    {"Velocity", "velocity", "Velocity of the latest note", true, false, 0, 1, 0},
    {"Tempo", "tempo", "Tempo that was heard, in beats per minute; 0 = none yet", true, false, 0, 400, 0},
    {"Connected", "connected", "A sidecar hears this instance", true, true, 0, 1, 0},
    {"Late", "late", "Notes that were played later than promised", true, false, 0, 65535, 0},
    {"Dropped", "dropped", "Blocks that nobody heard", true, false, 0, 65535, 0},
    {"Sounding", "sounding", "Notes that sound", true, false, 0, 128, 0},
#ifdef DISTRHO_PLUGIN_TARGET_LV2
    {"Freewheel", "freewheel", "Set by the host while it renders offline", false, true, 0, 1, 0},
#endif
    {"Preset status", "preset_status", "Whether what was asked for can be had, or what is heard with instead", true, false, 0, last_preset_status, 0},
    {"System", "system", "What hears, or plays; applies when the plug-in is next activated", false, false, 0, last_system, 0},
};

}  // namespace dawbridge
