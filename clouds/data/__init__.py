"""From a csv of run-length codes and images to TFRecords, and from these to batches.

Modules, in reading order: `annotations` (masks, which `masks` reads), `image_files`
(finding and reading images), `image_headers` (size, alpha, orientation), `formats`
(conversion to what TensorFlow decodes rightly), `graph_formats` (decoding in a graph),
`preprocessing` (bytes to pixels), `records` (one example), `manifest` (a folder of
records), `splits` (training and validation), `make_tfrecords` (the command), `beam`
(the same on Apache Beam), `pipeline` (tf.data), `scenes` (procedural cloud scenes),
`make_scenes` (the command that writes them).
"""
