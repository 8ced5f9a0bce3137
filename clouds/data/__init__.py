"""From a csv of run-length codes and images to TFRecords, and from these to batches.

Modules, in reading order: `images` (files to pixels), `annotations` (masks, which
`masks` reads), `records` (one example), `manifest` (a folder of records), `splits`
(training and validation), `groups` (images to keep together), `split_files` (the file
split.csv), `sources` (reads masks), `make_tfrecords` (the command), `beam`
(the same on Apache Beam), `pipeline` (tf.data), `statistics` (mean and deviation of
bands), `scenes` (procedural cloud scenes), `make_scenes` (the command that writes
them).
"""
