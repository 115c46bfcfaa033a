"""Process photos with MediaPipe's face landmarker: python mediapipe_worker.py MODEL PHOTOS...

It runs in a separate Python, which needs only MediaPipe. At the start it writes its version; after each line on
standard input it processes all photos once and writes the number of faces with blendshapes.
"""

import sys

import mediapipe
from mediapipe.tasks.python import BaseOptions, vision


def main():
    model, *photos = sys.argv[1:]
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model), output_face_blendshapes=True, num_faces=1
    )
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        print(mediapipe.__version__, flush=True)
        for _ in sys.stdin:
            read = (landmarker.detect(mediapipe.Image.create_from_file(photo)) for photo in photos)
            print(sum(len(found.face_blendshapes) for found in read), flush=True)


if __name__ == "__main__":
    main()
