"""The default bundle's network and head, from the data set and the teacher."""
