"""Images: decode, inspect, store, fit, augment and put on the device."""
