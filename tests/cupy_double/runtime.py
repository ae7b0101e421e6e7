"""`cupy.cuda.runtime`: what the probe and the rest of the double ask of CUDA itself."""

from . import state
from .state import CUDARuntimeError

is_hip = False


def driverGetVersion():
    return state.now.driver


def runtimeGetVersion():
    return state.now.runtime


def getDeviceCount():
    if state.now.driver < state.now.runtime // 1000 * 1000:
        raise CUDARuntimeError(35)
    if state.now.devices == 0:
        raise CUDARuntimeError(100)
    return state.now.devices


def getDevice():
    return state.now.device


def setDevice(device):
    if not 0 <= device < getDeviceCount():
        raise CUDARuntimeError(101)
    state.now.thread.device = device


def deviceSynchronize():
    from . import cuda

    state.now.counters.host_waits += 1
    streams = state.now.thread.streams.get(getDevice(), [])
    for stream in (*streams, cuda.Stream.null):
        stream._flush()
    for clock in state.now.order.streams.values():
        state.now.order.host.learn(clock)


def getDeviceProperties(device):
    if not 0 <= device < getDeviceCount():
        raise CUDARuntimeError(101)
    capability = int(state.now.capability)
    return {
        "name": b"Double GPU",
        "totalGlobalMem": state.now.memory,
        "major": capability // 10,
        "minor": capability % 10,
        "multiProcessorCount": 1,
    }


def memGetInfo():
    used = state.now.used[state.now.device]
    return state.now.memory - used, state.now.memory


__all__ = [
    "CUDARuntimeError",
    "deviceSynchronize",
    "driverGetVersion",
    "getDevice",
    "getDeviceCount",
    "getDeviceProperties",
    "is_hip",
    "memGetInfo",
    "runtimeGetVersion",
    "setDevice",
]
