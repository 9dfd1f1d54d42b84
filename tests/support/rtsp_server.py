"""Serves a WAV file by RTSP, as fast as it sounds: ``rtsp_server.py PORT FILE [USER PASSWORD]``.

The system's Python runs it, which has GStreamer. With ``jpeg`` for FILE there is a picture only.
"""

import sys

import gi  # type: ignore[import-not-found,import-untyped,unused-ignore]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")

from gi.repository import (  # type: ignore[import-not-found,import-untyped,unused-ignore] # noqa: E402
    GLib,
    Gst,
    GstRtspServer,
)

_SOUND = (
    '( filesrc location="{}" ! wavparse ! audioconvert ! audioresample '
    "! audio/x-raw,rate=16000,channels=1 ! rtpL16pay name=pay0 pt=97 )"
)
_PICTURE = "( videotestsrc is-live=true ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"

port, path, *login = sys.argv[1:]
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(_PICTURE if path == "jpeg" else _SOUND.format(path))
factory.set_shared(True)
if login:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "guest")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("access", "construct"):
        permissions.add_permission_for_role("guest", f"media.factory.{permission}", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory("/sound", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
