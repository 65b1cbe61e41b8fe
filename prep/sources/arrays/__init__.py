"""Images as arrays in a few files, as CIFAR, MNIST, STL-10 and MedMNIST are downloaded; one file per format."""
