"""Read a picture, print its text, and write a copy with boxes and texts beside it.

python demo.py PICTURE [ANNOTATED.png]
"""

import sys

import cv2

import liteocr

if len(sys.argv) not in {2, 3}:
    sys.exit(__doc__)
picture = sys.argv[1]
annotated = sys.argv[2] if len(sys.argv) == 3 else "annotated.png"

ocr = liteocr.OCR()  # loads the networks once; read() may be called any number of times, from several threads
try:
    page = ocr.read(picture)
except liteocr.ImageError as error:
    sys.exit(str(error))

for line in page:
    left, top = line.quad[0]
    print(f"{line.score:.2f}  ({left:6.1f}, {top:6.1f})  {line.text}")

print(f"{len(page)} lines in {page.seconds:.2f} s")
if not cv2.imwrite(annotated, page.draw(picture)):
    sys.exit(f"{annotated} cannot be written")
print(f"boxes and texts: {annotated}")
