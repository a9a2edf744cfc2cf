"""The sections of the articles, one file each: the words, the numbers and the picture."""
