"""What a release consists of: images for several platforms, their bills of materials, the chart, its signature."""
