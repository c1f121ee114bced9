include $(sort $(wildcard $(BR2_EXTERNAL_FEDECKS_PATH)/package/*/*.mk))
