"""Times of a video's pictures, where its format stores none or its decoder loses them."""

from bisect import insort
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import av


class AviSlots:
    """Gives the pictures of an AVI file their presentation times.

    The format stores none: its packets are in decoding order, one for each slot of the frame rate, and the decoder
    puts the pictures in order. The times that FFmpeg makes up are wrong for H.264, where it shuffles them.

    Args:
        decoder: The stream's decoder.
    """

    def __init__(self, decoder: "av.VideoCodecContext"):
        self._decoder = decoder
        self._slots: list[int] = []

    def open(self, packet: "av.Packet") -> None:
        """Takes the slot of a packet; the decoder passes it on to the picture."""
        packet.pts = packet.dts
        if packet.size > 0 and packet.dts is not None:
            insort(self._slots, packet.dts)

    def fill(self, picture: "av.VideoFrame") -> "av.VideoFrame":
        """Gives the next picture in presentation order the first open slot."""
        if picture.pts is not None and (picture.key_frame or not self._decoder.has_b_frames):
            # Pictures before it in the file have come out already, or never will, because they are damaged or were
            # left out by the encoder.
            self._slots = [slot for slot in self._slots if slot >= picture.pts]
        picture.pts = self._slots.pop(0) if self._slots else None
        return picture


class Clock:
    """Tells when a picture is shown; one without a time comes one frame after the previous one.

    Program streams store the time of the first picture of a packet only, raw H.264 none at all.

    Args:
        stream: The stream of the pictures.
    """

    def __init__(self, stream: "av.VideoStream"):
        self._stream = stream
        self._number, self._seconds = 0, 0.0

    def seconds_of(self, picture: "av.VideoFrame", number: int) -> float | None:
        """Seconds in the stream; `None` if it has neither times nor a frame rate.

        Args:
            picture: In presentation order.
            number: Its number.
        """
        if picture.pts is not None and picture.time_base is not None:
            self._number, self._seconds = number, float(picture.pts * picture.time_base)
            return self._seconds
        # The average rate of a raw stream is FFmpeg's default, whatever the stream says.
        rate = self._stream.guessed_rate or self._stream.average_rate
        return self._seconds + (number - self._number) / float(rate) if rate else None
