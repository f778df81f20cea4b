-- A session with the plug-in on an audio track, and a MIDI track that records what it plays.
-- Arguments: folder of the session, its name, sample rate.
local backend = AudioEngine:set_backend("None (Dummy)", "", "")
backend:set_device_name("Silence")
backend:set_sample_rate(tonumber(arg[3]))
backend:set_buffer_size(256)
local session = assert(create_session(arg[1], arg[2], tonumber(arg[3])), "no session")
local last, normal = ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal
local midi = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1)
local piano = session:new_audio_track(2, 2, nil, 1, "Piano", last, normal, true):front()
local notes = session:new_midi_track(
  midi, midi, true, ARDOUR.PluginInfo(), nil, nil, 1, "Notes", last, normal, true):front()
local plugin = ARDOUR.LuaAPI.new_plugin(session, "urn:dawbridge:plugin", ARDOUR.PluginType.LV2, "")
assert(not plugin:isnil(), "Ardour does not know the plug-in")
assert(piano:add_processor_by_index(plugin, 0, nil, true) == 0, "the plug-in cannot be inserted")
assert(notes:input():nth(0):connect("Piano/midi_out 1") == 0, "its MIDI cannot be connected")
session:save_state("")
close_session()
