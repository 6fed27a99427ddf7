"""Marks the wheel as one of this machine's kind: it holds a program and no extension module."""

from setuptools import Distribution, setup


class OfThisPlatform(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(distclass=OfThisPlatform)
