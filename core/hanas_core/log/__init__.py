"""The epochs in the folder and the log of each: claims, manifests, segments, batches."""
