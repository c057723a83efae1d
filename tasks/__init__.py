"""The steps of Almanac: plain functions that know no Prefect, in the order of the data path."""
