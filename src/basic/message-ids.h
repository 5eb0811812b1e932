/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One id for each thing an operator must be able to find; each has its text, with cause and remedy, in
 * systemd/swarm-orchestrator.catalog. A test compares both files in both directions. */

#define MESSAGE_SERVICE_STARTED          "bcea9841bad0495c8bc42a46d56ce4cd"
#define MESSAGE_SERVICE_STOPPED          "111d2ab2fa99478595c3043dd9579930"
#define MESSAGE_SESSION_STATE            "e14f952f26d9490b8718ccac87635115"
#define MESSAGE_SESSION_CREATED          "8c9ad99d637b49bdbc2b0f407ad8f762"
#define MESSAGE_SESSION_DESTROYED        "ebbf5f46e829479f961bd68e0501a2ea"
#define MESSAGE_SESSION_HIBERNATED       "18ff2a9843934749b1a3f9abc1bf4bd9"
#define MESSAGE_SESSION_STOPPED          "eab57baeb7a64d36b55eb64e813ed06a"
#define MESSAGE_SESSION_SNAPSHOT         "8245e18fc8bc4ff68bd76fbb9818b7e2"
#define MESSAGE_SESSION_RESTORED         "4acccc37238541fda71a6c69caed6089"
#define MESSAGE_SESSION_STARTED          "8c7d9bc4baf0420e8568ac7a6c00a4ea"
#define MESSAGE_CAPTURE_ABORTED          "6bd2aa896c5642f6a660943d66758f3d"
#define MESSAGE_SESSION_EXITED           "fbd15b9856904969b0b324ec480afee6"
#define MESSAGE_SESSION_LOST             "60e6c89c6c60418e89b59232c0255786"
#define MESSAGE_SESSION_PLACED           "5ac2b193781e4c56ab4df151f7d65cb6"
#define MESSAGE_COMMAND_BEGUN            "671d1783176148359cac6a159a13d31c"
#define MESSAGE_COMMAND_ENDED            "64d645a2fe064aeeb18f03c049be2c94"
#define MESSAGE_OUTPUT_READ              "5b58647f7f584a9ebe12a83273445d45"
#define MESSAGE_REQUEST_ACCEPTED         "db7548df37b247f58f0b463ded8085be"
#define MESSAGE_REQUEST_REFUSED          "54cf4c6eb2804f83bd6fab6b4df13816"
#define MESSAGE_ACCESS_DENIED            "4d3c5dfd5bcd424bafe95737cd16f15a"
#define MESSAGE_JOB_FAILED               "587a08455fb4443ab575fb267ae94868"
#define MESSAGE_RECONCILE_REPAIR         "caa64f8c54b24002a1acd687841b5a2f"
#define MESSAGE_PROVIDER_UNAVAILABLE     "5f3f62d6cdd04e3e8efc6c8aae46ca3b"
#define MESSAGE_PROVIDER_RECOVERED       "1c5d261c67054a78851942e88120333c"
#define MESSAGE_CONFIG_RELOADED          "9c3df4f5bbec4e84889ce20104195720"
#define MESSAGE_STORE_FAILED             "4ad1f188d0a243a694967109c8b9e627"
#define MESSAGE_SNAPSHOT_DELETED         "c73ba78101724477b92d830e4b8ee8a3"
#define MESSAGE_CONFIG_INVALID           "62cfae5aa5f14b31b56353385d69d820"
